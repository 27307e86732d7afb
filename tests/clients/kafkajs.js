// kafkajs: usage kafkajs.js BOOTSTRAP CODEC. It only produces: it cannot consume without a group. The caller reads back.
const { Kafka, CompressionTypes, CompressionCodecs, logLevel } = require("kafkajs");
const SnappyCodec = require("kafkajs-snappy");
CompressionCodecs[CompressionTypes.Snappy] = SnappyCodec;

const [bootstrap, codec] = process.argv.slice(2);
const types = { none: CompressionTypes.None, gzip: CompressionTypes.GZIP, snappy: CompressionTypes.Snappy };
const topic = `kafkajs-${codec}`;
const count = 10000;

async function main() {
  const kafka = new Kafka({ clientId: "kafkajs", brokers: bootstrap.split(","), logLevel: logLevel.ERROR });
  const admin = kafka.admin();
  await admin.connect();
  await admin.createTopics({ topics: [{ topic, numPartitions: 3, replicationFactor: 1 }] });
  await admin.disconnect();
  const producer = kafka.producer({ idempotent: true, maxInFlightRequests: 1 });
  await producer.connect();
  for (let start = 0; start < count; start += 1000) {
    const messages = [];
    for (let index = start; index < start + 1000; index++) {
      messages.push({
        key: index % 5 === 0 ? null : `key-${index}`,
        value: index % 97 === 0 && index % 5 !== 0 ? null : `value-${index}-` + "x".repeat(index % 200),
        partition: index % 3,
        headers: { trace: [`${index}`, "again"], empty: "" },
      });
    }
    await producer.send({ topic, messages, acks: -1, compression: types[codec] });
  }
  await producer.disconnect();
}

main().catch((error) => {
  console.error(error.message);
  process.exit(1);
});
