//! What configurations are taken, and what is said of those that are not.

use expect_test::{Expect, expect};

use super::*;

const MINIMAL: &str = "process.roles=broker,controller\nnode.id=1\nlog.dirs=/d\n\
                       listeners=PLAINTEXT://127.0.0.1:9092,CONTROLLER://127.0.0.1:9093\n\
                       controller.listener.names=CONTROLLER\n\
                       controller.quorum.voters=1@127.0.0.1:9093\n";

fn parse(more: &str) -> Result<(Config, Vec<ConfigWarning>), ConfigError> {
    Config::parse(&format!("{MINIMAL}{more}"), &BTreeMap::new())
}

#[track_caller]
fn check_problems(text: &str, expected: Expect) {
    let error = Config::parse(text, &BTreeMap::new()).expect_err("it is wrong");
    expected.assert_eq(&format!("{error}\n"));
}

#[track_caller]
fn check_problem(more: &str, expected: Expect) {
    check_problems(&format!("{MINIMAL}{more}"), expected);
}

#[track_caller]
fn check_warnings(more: &str, expected: Expect) {
    let (_, warnings) = parse(more).unwrap();
    let lines: Vec<String> = warnings.iter().map(|warning| format!("{warning}\n")).collect();
    expected.assert_eq(&lines.concat());
}

#[test]
fn defaults_are_kafkas() {
    let (config, warnings) = parse("").unwrap();
    assert_eq!(warnings, []);
    assert_eq!(config.listeners.len(), 1);
    assert_eq!(config.listeners[0].to_string(), "PLAINTEXT://127.0.0.1:9092");
    assert_eq!(config.advertised_listeners, config.listeners);
    assert_eq!(config.inter_broker_listener_name, "PLAINTEXT");
    assert_eq!(config.metadata_log_dir, PathBuf::from("/d"));
    assert_eq!(config.request_bytes_max, 104_857_600);
    assert_eq!(config.heartbeat_interval, Duration::from_secs(2));
    assert_eq!(config.connection_idle_max, Some(Duration::from_secs(600)));
    assert_eq!(config.flush_check_interval, None);
    assert!(config.auto_create_topics);
    for row in table::ROWS {
        if let Some(default) = row.default {
            assert_eq!(check_value(row, default), Ok(()), "the default of {}", row.name);
        }
    }
}

#[test]
fn overrides_win_over_the_file_and_the_last_setting_over_earlier_ones() {
    let overrides = BTreeMap::from([("num.partitions".to_owned(), "7".to_owned())]);
    let text = format!("{MINIMAL}num.partitions=3\nnode.id = 1 \n");
    let (config, warnings) = Config::parse(&text, &overrides).unwrap();
    assert_eq!(config.partitions_default, 7);
    assert_eq!(config.settings()["num.partitions"].source, Source::Override);
    assert_eq!(warnings.len(), 1);
    assert_eq!(warnings[0].to_string(), "node.id is set twice: line 8 wins over line 2");
}

#[test]
fn unknown_names_are_refused_with_the_nearest() {
    check_problem(
        "min.insysc.replicas=2\n",
        expect![[r#"
            min.insysc.replicas is not a property of Kafka's
              where: line 7
              why:   a misspelled property would silently have no effect
              next:  did you mean min.insync.replicas? (--allow-unknown ignores unknown names)
        "#]],
    );
    check_problem(
        "com.example.thing=2\n",
        expect![[r#"
            com.example.thing is not a property of Kafka's
              where: line 7
              why:   a misspelled property would silently have no effect
              next:  remove it, or start with --allow-unknown
        "#]],
    );
    let text = format!("{MINIMAL}com.example.thing=2\n");
    let options = ParseOptions { allow_unknown: true };
    let (_, warnings) = Config::parse_with(&text, &BTreeMap::new(), options).unwrap();
    assert_eq!(warnings, [ConfigWarning::Unknown { name: "com.example.thing".to_owned() }]);
}

#[test]
fn removed_properties_say_what_took_their_place() {
    check_problem(
        "zookeeper.connect=localhost:2181\nzookeeper.session.timeout.ms=1\ninter.broker.protocol.version=3.9\n",
        expect![[r#"
            inter.broker.protocol.version is refused
              where: line 9
              why:   what it sets is not there, and ignoring it would hide that
              next:  Kafka 4 takes it from metadata.version, which `ottla format` writes: remove it
            zookeeper.connect is refused
              where: line 7
              why:   what it sets is not there, and ignoring it would hide that
              next:  Kafka 4 has no ZooKeeper: set process.roles, node.id, controller.listener.names and controller.quorum.voters (or controller.quorum.bootstrap.servers) instead
            zookeeper.session.timeout.ms is refused
              where: line 8
              why:   what it sets is not there, and ignoring it would hide that
              next:  Kafka 4 has no ZooKeeper: set process.roles, node.id, controller.listener.names and controller.quorum.voters (or controller.quorum.bootstrap.servers) instead
        "#]],
    );
}

#[test]
fn values_have_kinds_and_ranges() {
    check_problem(
        "num.partitions=0\nlog.segment.bytes=1GB\nlog.preallocate=yes\nlog.cleanup.policy=delete,shrink\nlog.retention.hours=99999999999\n",
        expect![[r#"
            log.cleanup.policy=delete,shrink is not allowed
              where: line 10
              why:   it must be one of compact, delete
              next:  Kafka's default is delete
            log.preallocate=yes is not allowed
              where: line 9
              why:   it must be true or false
              next:  Kafka's default is false
            log.retention.hours=99999999999 is not allowed
              where: line 11
              why:   it must be a whole number from -2147483648 to 2147483647
              next:  Kafka's default is 168
            log.segment.bytes=1GB is not allowed
              where: line 8
              why:   it must be a whole number from -2147483648 to 2147483647
              next:  Kafka's default is 1073741824
            num.partitions=0 is not allowed
              where: line 7
              why:   it must be 1 or more
              next:  Kafka's default is 1
        "#]],
    );
}

#[test]
fn what_is_missing_is_named_together() {
    check_problems(
        "log.dirs=\n",
        expect![[r#"
            node.id is not set
              where: nowhere in the file
              why:   every node has a number of its own
              next:  add a line such as node.id=1
            process.roles is not set
              where: nowhere in the file
              why:   without it Kafka would look for ZooKeeper, which Kafka 4 does not have
              next:  add a line such as process.roles=broker,controller
            controller.quorum.voters is not set
              where: nowhere in the file
              why:   the controller's quorum must be known to every node
              next:  add a line such as controller.quorum.voters=<node.id>@localhost:9093
            controller.listener.names is not set
              where: the default
              why:   a node with the role controller says which listener is the controller's
              next:  add controller.listener.names=CONTROLLER, and CONTROLLER://:9093 to listeners
            log.dirs is not set
              where: nowhere in the file
              why:   data must go somewhere
              next:  add a line such as log.dirs=/var/lib/ottla
        "#]],
    );
}

#[test]
fn kafkas_default_directory_is_not_taken_silently() {
    let text = MINIMAL.replace("log.dirs=/d\n", "");
    check_problems(
        &text,
        expect![[r#"
            log.dirs is not set
              where: nowhere in the file
              why:   Kafka's default, /tmp/kafka-logs, is lost at the next reboot
              next:  add a line such as log.dirs=/var/lib/ottla
        "#]],
    );
}

#[test]
fn a_controller_is_among_its_voters_and_a_broker_is_not() {
    check_problem(
        "controller.quorum.voters=2@b:1,3@b:1,2@c:1,x@d:1,4@0.0.0.0:1\nbroker.id=2\n",
        expect![[r#"
            broker.id=2 and node.id=1 name different nodes
              where: line 8
              why:   they are the old and the new name of one thing
              next:  remove broker.id
            controller.quorum.voters has two voters at b:1
              where: line 7
              why:   two nodes cannot listen at one address
              next:  give each voter its own host:port
            controller.quorum.voters names voter 2 twice
              where: line 7
              why:   each node has one vote
              next:  name each voter once, with its own node.id
            controller.quorum.voters names no voter with "x@d:1"
              where: line 7
              why:   the id before @ is not a number
              next:  write each voter as id@host:port
            controller.quorum.voters names no voter with "4@0.0.0.0:1"
              where: line 7
              why:   that address means every address of one's own machine
              next:  write each voter as id@host:port
            controller.quorum.voters does not name this node, 1
              where: line 7
              why:   a node with the role controller is a voter
              next:  name it, or correct node.id
        "#]],
    );
    check_problem(
        "process.roles=broker\nlisteners=PLAINTEXT://:9092\n",
        expect![[r#"
        controller.quorum.voters names this node, 1
          where: line 6
          why:   a node without the role controller is no voter
          next:  set process.roles=broker,controller, or correct node.id
    "#]],
    );
}

#[test]
fn voters_are_read_in_the_order_of_their_ids() {
    let (config, _) = parse("controller.quorum.voters=3@c:9093,1@[::1]:9093,2@b:9093\n").unwrap();
    let shown = config.quorum.voters.iter().map(|(id, at)| format!("{id}@{at}"));
    assert_eq!(shown.collect::<Vec<_>>(), ["1@[::1]:9093", "2@b:9093", "3@c:9093"]);
    assert_eq!(config.roles, ProcessRoles::Combined);
    assert_eq!(config.quorum.election_timeout, Duration::from_secs(1));
    assert_eq!(config.quorum.fetch_timeout, Duration::from_secs(2));
}

#[test]
fn groups_have_kafkas_defaults_and_what_is_set() {
    let (config, _) = parse("").unwrap();
    assert_eq!(config.groups.coordinator, crate::coordinator::group::GroupConfig::default());
    assert_eq!(config.groups.commit_timeout, Duration::from_secs(5));
    assert_eq!(config.groups.load_bytes, 5 << 20);
    let topic = config.groups.offsets_topic;
    let numbers = (topic.partitions, topic.replication_factor, topic.segment_bytes);
    assert_eq!(numbers, (50, 3, 100 << 20));
    assert_eq!(topic.compression, crate::protocol::compression::Codec::None);

    let (config, warnings) = parse(
        "group.initial.rebalance.delay.ms=0\ngroup.min.session.timeout.ms=100\n\
         group.max.session.timeout.ms=200\ngroup.max.size=3\noffset.metadata.max.bytes=5\n\
         offsets.retention.minutes=2\noffsets.retention.check.interval.ms=7\n\
         offsets.topic.num.partitions=4\noffsets.topic.replication.factor=1\n\
         offsets.topic.segment.bytes=1048576\noffsets.topic.compression.codec=4\n\
         offsets.commit.timeout.ms=8\noffsets.load.buffer.size=9\n",
    )
    .unwrap();
    assert_eq!(warnings, []);
    let coordinator = &config.groups.coordinator;
    assert_eq!(coordinator.initial_rebalance_delay, Duration::ZERO);
    assert_eq!(coordinator.session_timeout_min, Duration::from_millis(100));
    assert_eq!(coordinator.session_timeout_max, Duration::from_millis(200));
    assert_eq!((coordinator.size_max, coordinator.offset_metadata_bytes_max), (3, 5));
    assert_eq!(coordinator.offsets_retention, Duration::from_secs(120));
    assert_eq!(coordinator.offsets_retention_check_interval, Duration::from_millis(7));
    assert_eq!(config.groups.commit_timeout, Duration::from_millis(8));
    assert_eq!(config.groups.load_bytes, 9);
    let topic = config.groups.offsets_topic;
    let numbers = (topic.partitions, topic.replication_factor, topic.segment_bytes);
    assert_eq!(numbers, (4, 1, 1 << 20));
    assert_eq!(topic.compression, crate::protocol::compression::Codec::Zstd);

    check_problem(
        "group.min.session.timeout.ms=2000000\noffsets.topic.compression.codec=5\n",
        expect![[r#"
            offsets.topic.compression.codec=5 is not allowed
              where: line 8
              why:   it must be 0 to 4
              next:  Kafka's default is 0
            group.min.session.timeout.ms is above group.max.session.timeout.ms
              where: line 7
              why:   no member could have a session, so none would be let into a group
              next:  set it to group.max.session.timeout.ms or less
        "#]],
    );
}

#[test]
fn consumer_groups_have_kafkas_defaults_and_what_is_set() {
    use crate::coordinator::group::assignor::Assignor;
    let (config, _) = parse("").unwrap();
    assert!(config.groups.consumer_protocol);

    let (config, warnings) = parse(
        "group.consumer.session.timeout.ms=600\ngroup.consumer.min.session.timeout.ms=500\n\
         group.consumer.heartbeat.interval.ms=100\ngroup.consumer.min.heartbeat.interval.ms=50\n\
         group.consumer.max.size=4\ngroup.coordinator.rebalance.protocols=classic\n\
         group.consumer.assignors=range, \
         org.apache.kafka.coordinator.group.assignor.UniformAssignor,range\n",
    )
    .unwrap();
    assert_eq!(warnings, []);
    assert!(!config.groups.consumer_protocol);
    let coordinator = &config.groups.coordinator;
    assert_eq!(coordinator.consumer_session_timeout, Duration::from_millis(600));
    assert_eq!(coordinator.consumer_heartbeat_interval, Duration::from_millis(100));
    assert_eq!(coordinator.consumer_size_max, 4);
    assert_eq!(coordinator.consumer_assignors, [Assignor::Range, Assignor::Uniform]);

    check_problem(
        "group.consumer.session.timeout.ms=5000\ngroup.consumer.heartbeat.interval.ms=20000\n",
        expect![[r#"
            group.consumer.min.session.timeout.ms is above group.consumer.session.timeout.ms
              where: the default
              why:   no value is between the two
              next:  set group.consumer.min.session.timeout.ms to 5000 or less, or raise group.consumer.session.timeout.ms
            group.consumer.heartbeat.interval.ms is above group.consumer.max.heartbeat.interval.ms
              where: line 8
              why:   no value is between the two
              next:  set group.consumer.heartbeat.interval.ms to 15000 or less, or raise group.consumer.max.heartbeat.interval.ms
            group.consumer.heartbeat.interval.ms is not below group.consumer.session.timeout.ms
              where: line 8
              why:   a member's session would end before it sends its next heartbeat
              next:  set it lower, to a third of the session at most
        "#]],
    );
    check_problem(
        "group.consumer.assignors=\ngroup.coordinator.rebalance.protocols=consumer\n",
        expect![[r#"
            group.consumer.assignors names none
              where: line 7
              why:   the members of a consumer group could not be given anything
              next:  name uniform, range, or both; Kafka's default is uniform,range
            group.coordinator.rebalance.protocols leaves out classic
              where: line 8
              why:   the classic protocol is always spoken
              next:  add classic to it
        "#]],
    );
    check_problem(
        "group.consumer.assignors=sticky\ngroup.consumer.migration.policy=sometimes\n",
        expect![[r#"
            group.consumer.assignors=sticky is not allowed
              where: line 7
              why:   it must be one of uniform, range, org.apache.kafka.coordinator.group.assignor.UniformAssignor, org.apache.kafka.coordinator.group.assignor.RangeAssignor
              next:  Kafka's default is uniform,range
            group.consumer.migration.policy=sometimes is not allowed
              where: line 8
              why:   it must be one of disabled, upgrade, downgrade, bidirectional
              next:  Kafka's default is bidirectional
        "#]],
    );
}

#[test]
fn bootstrap_servers_are_enough_for_a_quorum_of_this_node() {
    let text = MINIMAL.replace("quorum.voters=1@", "quorum.bootstrap.servers=");
    let (config, _) = Config::parse(&text, &BTreeMap::new()).unwrap();
    let own = (BrokerId::new(1), crate::rpc::Endpoint::parse("127.0.0.1:9093").unwrap());
    assert_eq!(config.quorum.voters, [own]);
    check_problems(
        &text.replace(":9093\n", ":9093,b:9093,c\n"),
        expect![[r#"
        controller.quorum.bootstrap.servers names no server with "c"
          where: line 6
          why:   a server is a host and a port that others can reach
          next:  write each server as host:port
        controller.quorum.bootstrap.servers names controllers of other nodes, but not their ids
          where: line 6
          why:   quorums whose voters are found out at run time (KIP-853) are not built in
          next:  set controller.quorum.voters=id@host:port,… on every node instead
        listeners has "b:9093", which is no listener
          where: line 4
          why:   there is no ://
          next:  write each listener as NAME://host:port
    "#]],
    );
}

#[test]
fn each_role_has_its_listeners() {
    let controller = "process.roles=controller\nnode.id=1\nlog.dirs=/d\n\
                      controller.listener.names=CONTROLLER\ncontroller.quorum.voters=1@a:9093\n";
    let text = format!("{controller}listeners=CONTROLLER://a:9093\n");
    let (config, warnings) = Config::parse(&text, &BTreeMap::new()).unwrap();
    assert_eq!((config.listeners, config.advertised_listeners), (Vec::new(), Vec::new()));
    assert_eq!(config.controller_listeners.len(), 1);
    assert_eq!(warnings, []);
    check_problems(
        controller,
        expect![[r#"
        controller.listener.names has CONTROLLER, which is no listener
          where: line 4
          why:   the listeners are PLAINTEXT
          next:  add it to listeners, as in CONTROLLER://:9093
    "#]],
    );
    let text = format!("{controller}listeners=PLAINTEXT://a:9092,CONTROLLER://a:9093\n");
    check_problems(
        &text,
        expect![[r#"
        listeners has PLAINTEXT, which clients would use
          where: line 6
          why:   a node with the role controller alone serves no clients
          next:  name only listeners that controller.listener.names has
    "#]],
    );

    let broker = "process.roles=broker\nnode.id=4\nlog.dirs=/d\nlisteners=PLAINTEXT://a:9092\n\
                  controller.quorum.voters=1@a:9093\n";
    let text = format!("{broker}controller.listener.names=CONTROLLER,OTHER\n");
    let (config, warnings) = Config::parse(&text, &BTreeMap::new()).unwrap();
    assert_eq!(config.controller_listeners, []);
    assert_eq!(warnings.len(), 1);
    check_problems(
        broker,
        expect![[r#"
        controller.listener.names is not set
          where: the default
          why:   a broker says by which listener it calls the controllers
          next:  add controller.listener.names=CONTROLLER
    "#]],
    );
    let text = format!("{text}listeners=PLAINTEXT://a:9092,CONTROLLER://a:9093\n");
    check_problems(
        &text,
        expect![[r#"
        listeners has CONTROLLER, which is the controller's
          where: line 7
          why:   a node without the role controller does not serve the quorum
          next:  remove it from listeners, or set process.roles=broker,controller
    "#]],
    );
    let text = format!(
        "{broker}controller.listener.names=C\nlistener.security.protocol.map=PLAINTEXT:PLAINTEXT\n"
    );
    check_problems(
        &text,
        expect![[r#"
        listener C has no protocol
          where: line 4
          why:   its name is not in listener.security.protocol.map
          next:  add NAME:PLAINTEXT there
    "#]],
    );
}

#[test]
fn followers_are_more_patient_than_leaders_are_slow() {
    check_problem(
        "replica.fetch.wait.max.ms=40000\nreplica.selector.class=com.example.Mine\n",
        expect![[r#"
            replica.selector.class=com.example.Mine is not allowed
              where: line 8
              why:   it must be one of org.apache.kafka.common.replica.LeaderSelector, org.apache.kafka.common.replica.RackAwareReplicaSelector
              next:  correct or remove it
            replica.fetch.wait.max.ms is above replica.lag.time.max.ms
              where: line 7
              why:   followers of idle partitions would leave the in-sync replicas
              next:  set it to a fraction of replica.lag.time.max.ms
            replica.fetch.wait.max.ms is above replica.socket.timeout.ms
              where: line 7
              why:   followers would give up on leaders that only wait for records
              next:  set it below replica.socket.timeout.ms
        "#]],
    );
    let (config, _) = parse(
        "replica.selector.class=org.apache.kafka.common.replica.RackAwareReplicaSelector\n\
         auto.leader.rebalance.enable=false\n",
    )
    .unwrap();
    assert!(config.replication.selects_by_rack);
    assert_eq!(config.leader_balance, None);
    let balance = parse("").unwrap().0.leader_balance.unwrap();
    assert_eq!(balance.check_interval, Duration::from_secs(300));
    assert_eq!(balance.imbalance_per_broker_percentage, 10);
}

#[test]
fn listeners_must_make_sense_together() {
    check_problem(
        "listeners=PLAINTEXT://0.0.0.0:9092,CONTROLLER://:9093\n",
        expect![[r#"
            clients would be told to connect to 0.0.0.0
              where: line 7
              why:   that address means every address of one's own machine
              next:  set advertised.listeners to a name that clients can reach
        "#]],
    );
    check_problem(
        "listeners=SSL://:9092,CONTROLLER://:9093\n",
        expect![[r#"
            listener SSL://:9092 wants SSL
              where: line 7
              why:   TLS and SASL are not built in
              next:  use PLAINTEXT, and a TLS proxy in front where the network needs one
        "#]],
    );
    check_problem(
        "listeners=PLAINTEXT://:9092\n",
        expect![[r#"
            controller.listener.names has CONTROLLER, which is no listener
              where: line 5
              why:   the listeners are PLAINTEXT
              next:  add it to listeners, as in CONTROLLER://:9093
        "#]],
    );
    check_problem(
        "listeners=localhost:9092\n",
        expect![[r#"
            listeners has "localhost:9092", which is no listener
              where: line 7
              why:   there is no ://
              next:  write each listener as NAME://host:port
        "#]],
    );
    check_problem(
        "advertised.listeners=OUTSIDE://example.org:9092\n",
        expect![[r#"
            advertised.listeners has OUTSIDE, which is no listener
              where: line 7
              why:   the listeners are PLAINTEXT
              next:  use the same names in both
        "#]],
    );
}

#[test]
fn several_named_listeners_are_read() {
    let (config, _) = parse(
        "listeners=IN://[::1]:9092,out://:9094,CONTROLLER://:9093\n\
         listener.security.protocol.map=IN:PLAINTEXT,OUT:PLAINTEXT,CONTROLLER:PLAINTEXT\n\
         advertised.listeners=IN://[::1]:9092,OUT://example.org:19094\n\
         inter.broker.listener.name=in\n",
    )
    .unwrap();
    let texts: Vec<String> = config.advertised_listeners.iter().map(Endpoint::to_string).collect();
    assert_eq!(texts, ["IN://[::1]:9092", "OUT://example.org:19094"]);
    assert_eq!(config.inter_broker_listener_name, "IN");
    assert_eq!(config.listeners[0].host, "::1");
}

#[test]
fn kafkas_own_file_for_one_node_is_taken() {
    check_warnings(
        "num.network.threads=3\nsocket.send.buffer.bytes=102400\noffsets.topic.replication.factor=1\n\
         transaction.state.log.min.isr=1\nlog.retention.hours=168\ngroup.initial.rebalance.delay.ms=0\n\
         listeners=PLAINTEXT://:9092,CONTROLLER://:9093\n",
        expect![[r#"
            listeners is set twice: line 13 wins over line 4
            num.network.threads is accepted: One thread a core serves its connections from socket to file.
            socket.send.buffer.bytes is accepted: The kernel sizes its buffers itself.
            without effect here: transaction.state.log.min.isr
            listener PLAINTEXT names no host: clients are told localhost; set advertised.listeners for clients on other machines
        "#]],
    );
}

#[test]
fn a_text_that_is_no_properties_file_says_where() {
    check_problems(
        "\na=\\u12\n",
        expect![[r#"
            the file is not in Java's properties syntax
              where: line 2
              why:   \u is not followed by four hexadecimal digits
              next:  write a backslash as \\
        "#]],
    );
}
