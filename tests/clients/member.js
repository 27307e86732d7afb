// A member of a consumer group with kafkajs: usage member.js BOOTSTRAP GROUP TOPIC, until SIGTERM. It says what member.py says.
const { Kafka, logLevel } = require("kafkajs");

const [bootstrap, groupId, topic] = process.argv.slice(2);
const say = (event) => process.stdout.write(JSON.stringify(event) + "\n");

async function main() {
  const kafka = new Kafka({ clientId: "kafkajs", brokers: bootstrap.split(","), logLevel: logLevel.NOTHING });
  const consumer = kafka.consumer({
    groupId,
    sessionTimeout: 6000,
    rebalanceTimeout: 10000,
    heartbeatInterval: 1000,
    maxWaitTimeInMs: 500,
    // Where a coordinator is gone for good it must give up on it before it looks for another.
    retry: { initialRetryTime: 100, maxRetryTime: 1000, retries: 5 },
  });
  consumer.on(consumer.events.GROUP_JOIN, ({ payload }) => say({ assigned: (payload.memberAssignment[topic] || []).sort() }));
  consumer.on(consumer.events.REBALANCING, () => say({ assigned: [] }));
  consumer.on(consumer.events.CRASH, ({ payload }) => say({ error: `crash, ${payload.restart ? "" : "not "}begun anew: ${payload.error.message}` }));
  await consumer.connect();
  await consumer.subscribe({ topics: [topic], fromBeginning: true });
  await consumer.run({
    autoCommit: false,
    eachBatchAutoResolve: false,
    eachBatch: async ({ batch, resolveOffset, heartbeat, isRunning, isStale }) => {
      let next = null;
      for (const message of batch.messages) {
        if (!isRunning() || isStale()) break;
        say({ record: [batch.partition, Number(message.offset), message.value.toString()] });
        resolveOffset(message.offset);
        next = String(Number(message.offset) + 1);
      }
      if (next === null) return;
      await consumer.commitOffsets([{ topic, partition: batch.partition, offset: next }]);
      await heartbeat();
    },
  });
  process.on("SIGTERM", async () => {
    await consumer.disconnect();
    process.exit(0);
  });
}

main().catch((error) => {
  say({ error: error.message });
  process.exit(1);
});
