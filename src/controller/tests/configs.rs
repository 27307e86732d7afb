//! Configs and features.

use expect_test::expect;

use super::*;
use crate::metadata::ResourceType;

#[test]
fn configs_come_with_the_topic_and_change_later() {
    let mut harness = Harness::new();
    harness.join(1);
    let mut with_config = topic("t");
    with_config.configs = vec![("retention.ms".to_owned(), Some("1000".to_owned()))];
    harness.create(vec![with_config], false);
    let changes = |name: &str, value: Option<&str>| ConfigChange {
        resource: ConfigResource::topic("t"),
        changes: vec![(name.to_owned(), operation(value))],
    };
    let unknown = ConfigChange { resource: ConfigResource::topic("x"), changes: vec![] };
    harness.ask(Request::AlterConfigs {
        changes: vec![
            changes("retention.ms", None),
            changes("segment.bytes", Some("bad")),
            changes("min.insync.replicas", Some("2")),
            unknown,
        ],
        validate_only: false,
    });
    harness.expect(&expect![[r#"
        create t
        6 Topic t SmkN
        7 Config t retention.ms=Some("1000")
        8 Partition SmkN-0 replicas [1] isr [1] leader Some(1) epochs 0/0
        => 1 partitions x1
        9 Config t retention.ms=None
        10 PartitionChange SmkN-0
        11 Config t min.insync.replicas=Some("2")
        => ok
        => INVALID_CONFIG: segment.bytes cannot be bad
        => ok
        => UNKNOWN_TOPIC_OR_PARTITION: the topic 'x' does not exist
    "#]]);
    let configs = harness.ledger.image().topic_configs("t").unwrap();
    assert_eq!(configs.len(), 1);
}

#[test]
fn lists_grow_and_shrink_by_entry() {
    let mut harness = Harness::new();
    harness.join(1);
    harness.create(vec![topic("t")], false);
    harness.text.clear();
    let steps = [
        ConfigOperation::Append("compact".to_owned()),
        ConfigOperation::Append("compact,delete".to_owned()),
        ConfigOperation::Subtract("delete, none".to_owned()),
        ConfigOperation::Delete,
    ];
    for step in steps {
        harness.change_config(ConfigResource::topic("t"), "cleanup.policy", step);
    }
    let append = ConfigOperation::Append("1".to_owned());
    harness.change_config(ConfigResource::topic("t"), "retention.ms", append);
    harness.expect(&expect![[r#"
        Topic 't' cleanup.policy Append("compact")
        8 Config t cleanup.policy=Some("delete,compact")
        => ok
        Topic 't' cleanup.policy Append("compact,delete")
        => ok
        Topic 't' cleanup.policy Subtract("delete, none")
        9 Config t cleanup.policy=Some("compact")
        => ok
        Topic 't' cleanup.policy Delete
        10 Config t cleanup.policy=None
        => ok
        Topic 't' retention.ms Append("1")
        => INVALID_CONFIG: retention.ms is not a list: nothing is added to it or taken from it
    "#]]);
}

#[test]
fn brokers_and_the_whole_cluster_have_configs_too() {
    let mut harness = Harness::new();
    harness.join(1);
    let broker =
        |name: &str| ConfigResource { resource_type: ResourceType::Broker, name: name.into() };
    let set = |value: &str| ConfigOperation::Set(value.to_owned());
    for name in ["", "1", "7", "one", "-1"] {
        harness.change_config(broker(name), "log.retention.ms", set("5"));
    }
    harness.note("one minimum for the whole cluster");
    harness.change_config(broker("1"), "min.insync.replicas", set("2"));
    harness.change_config(broker(""), "min.insync.replicas", set("2"));
    harness.change_config(broker(""), "min.insync.replicas", ConfigOperation::Delete);
    harness.expect(&expect![[r#"
        Broker '' log.retention.ms Set("5")
        6 Config  log.retention.ms=Some("5")
        => ok
        Broker '1' log.retention.ms Set("5")
        7 Config 1 log.retention.ms=Some("5")
        => ok
        Broker '7' log.retention.ms Set("5")
        => BROKER_ID_NOT_REGISTERED: there is no node with id 7
        Broker 'one' log.retention.ms Set("5")
        => INVALID_REQUEST: 'one' is not the id of a broker
        Broker '-1' log.retention.ms Set("5")
        => INVALID_REQUEST: '-1' is not the id of a broker
        -- one minimum for the whole cluster
        Broker '1' min.insync.replicas Set("2")
        => INVALID_CONFIG: one broker's min.insync.replicas cannot be altered while eligible leader replicas are kept
        Broker '' min.insync.replicas Set("2")
        8 Config  min.insync.replicas=Some("2")
        => ok
        Broker '' min.insync.replicas Delete
        => INVALID_CONFIG: the cluster's min.insync.replicas cannot be removed while eligible leader replicas are kept
    "#]]);
}

#[test]
fn the_old_request_replaces_everything() {
    let mut harness = Harness::new();
    harness.join(1);
    harness.create(vec![topic("t")], false);
    harness.set_config("t", "retention.ms", "1");
    harness.set_config("t", "segment.bytes", "2");
    harness.text.clear();
    let replace = |configs: &[(&str, &str)], validate_only| {
        let configs = configs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let resources = vec![(ConfigResource::topic("t"), configs.collect())];
        Request::ReplaceConfigs { resources, validate_only }
    };
    harness.ask(replace(&[("retention.ms", "bad")], false));
    harness.ask(replace(&[("retention.ms", "3"), ("retention.bytes", "4")], true));
    harness.ask(replace(&[("retention.ms", "3"), ("retention.bytes", "4")], false));
    harness.expect(&expect![[r#"
        => INVALID_CONFIG: retention.ms cannot be bad
        => ok
        10 Config t segment.bytes=None
        11 Config t retention.bytes=Some("4")
        12 Config t retention.ms=Some("3")
        => ok
    "#]]);
}

#[test]
fn another_minimum_forgets_who_is_eligible_where_somebody_is_in_sync() {
    let mut harness = Harness::new();
    for broker in [1, 2, 3] {
        harness.join(broker);
    }
    harness.create(vec![manual("t", &[(0, &[1, 2]), (1, &[3, 2])])], false);
    harness.min_isr("t", 2);
    harness.heartbeat_shutdown(2);
    harness.heartbeat_shutdown(3);
    harness.text.clear();
    harness.min_isr("t", 1);
    harness.expect(&expect![[r#"
        Topic 't' min.insync.replicas Set("1")
        22 PartitionChange YRgw-0 elr []
        23 Config t min.insync.replicas=Some("1")
        => ok
    "#]]);
}

#[test]
fn features_go_up_and_down_together_or_not_at_all() {
    let mut harness = Harness::new();
    harness.join(1);
    let update = |feature: &str, level, upgrade_type| FeatureUpdate {
        feature: feature.to_owned(),
        level,
        upgrade_type,
    };
    let (elr, version) = ("eligible.leader.replicas.version", "metadata.version");
    use UpgradeType::{SafeDowngrade, UnsafeDowngrade, Upgrade};
    let requests = [
        vec![update("nonsense", 1, Upgrade)],
        vec![update("kraft.version", 1, Upgrade)],
        vec![update(version, 1, UnsafeDowngrade)],
        vec![update(version, 28, Upgrade)],
        vec![update(version, 25, Upgrade)],
        vec![update(version, 25, SafeDowngrade), update(elr, 2, Upgrade)],
        vec![update(version, 25, SafeDowngrade), update(version, 26, SafeDowngrade)],
        vec![update(version, 25, SafeDowngrade), update(elr, 0, SafeDowngrade)],
        vec![update(version, 27, SafeDowngrade)],
        vec![update(version, 27, Upgrade), update(elr, 1, Upgrade)],
        vec![update(version, 27, Upgrade)],
    ];
    for updates in requests {
        let names: Vec<String> =
            updates.iter().map(|one| format!("{} {}", one.feature, one.level)).collect();
        harness.note(&names.join(", "));
        harness.ask(Request::UpdateFeatures { updates, validate_only: false });
    }
    harness.note("only asked");
    let updates = vec![update(elr, 0, SafeDowngrade)];
    harness.ask(Request::UpdateFeatures { updates, validate_only: true });
    harness.expect(&expect![[r#"
        -- nonsense 1
        => INVALID_UPDATE_VERSION: the controller does not know feature nonsense
        -- kraft.version 1
        => INVALID_UPDATE_VERSION: kraft.version is set when the cluster is formatted
        -- metadata.version 1
        => INVALID_UPDATE_VERSION: the controller supports metadata.version from 23 to 27
        -- metadata.version 28
        => INVALID_UPDATE_VERSION: the controller supports metadata.version from 23 to 27
        -- metadata.version 25
        => INVALID_UPDATE_VERSION: metadata.version is at 27: going down must be asked for
        -- metadata.version 25, eligible.leader.replicas.version 2
        => INVALID_UPDATE_VERSION: the controller supports eligible.leader.replicas.version from 0 to 1
        -- metadata.version 25, metadata.version 26
        => INVALID_REQUEST: feature metadata.version stands twice in the request
        -- metadata.version 25, eligible.leader.replicas.version 0
        6 FeatureLevel(FeatureLevel { name: "metadata.version", level: 25 })
        7 FeatureLevel(FeatureLevel { name: "eligible.leader.replicas.version", level: 0 })
        => ok
        -- metadata.version 27
        => INVALID_UPDATE_VERSION: metadata.version is at 25: 27 is not down
        -- metadata.version 27, eligible.leader.replicas.version 1
        8 FeatureLevel(FeatureLevel { name: "metadata.version", level: 27 })
        9 Config  min.insync.replicas=Some("1")
        10 FeatureLevel(FeatureLevel { name: "eligible.leader.replicas.version", level: 1 })
        => ok
        -- metadata.version 27
        => ok
        -- only asked
        => ok
    "#]]);
}

#[test]
fn configs_of_groups_are_looked_at_as_a_whole_and_need_no_group() {
    let mut harness = Harness::new();
    let group = || ConfigResource::group("billing");
    let (session, interval) = ("consumer.session.timeout.ms", "consumer.heartbeat.interval.ms");
    let set = |value: &str| ConfigOperation::Set(value.to_owned());
    harness.change_config(group(), session, set("50000"));
    harness.change_config(group(), session, set("50000"));
    harness.change_config(group(), session, set("44999"));
    harness.change_config(group(), interval, set("15001"));
    harness.change_config(group(), "session.timeout.ms", set("50000"));
    harness.change_config(group(), session, ConfigOperation::Append("1".to_owned()));
    harness.change_config(ConfigResource::group(""), session, set("50000"));
    harness.change_config(group(), session, ConfigOperation::Delete);
    harness.change_config(group(), session, ConfigOperation::Delete);
    harness.ask(Request::ReplaceConfigs {
        resources: vec![(group(), [(interval.to_owned(), "6000".to_owned())].into())],
        validate_only: false,
    });
    harness.ask(Request::ReplaceConfigs {
        resources: vec![(group(), [(session.to_owned(), "60000".to_owned())].into())],
        validate_only: true,
    });
    harness.ask(Request::ReplaceConfigs {
        resources: vec![(group(), [(session.to_owned(), "60000".to_owned())].into())],
        validate_only: false,
    });
    harness.expect(&expect![[r#"
        Group 'billing' consumer.session.timeout.ms Set("50000")
        4 Config billing consumer.session.timeout.ms=Some("50000")
        => ok
        Group 'billing' consumer.session.timeout.ms Set("50000")
        => ok
        Group 'billing' consumer.session.timeout.ms Set("44999")
        => INVALID_CONFIG: consumer.session.timeout.ms must be greater than or equal to group.consumer.min.session.timeout.ms
        Group 'billing' consumer.heartbeat.interval.ms Set("15001")
        => INVALID_CONFIG: consumer.heartbeat.interval.ms must be less than or equal to group.consumer.max.heartbeat.interval.ms
        Group 'billing' session.timeout.ms Set("50000")
        => INVALID_CONFIG: Unknown group config name: session.timeout.ms
        Group 'billing' consumer.session.timeout.ms Append("1")
        => INVALID_CONFIG: consumer.session.timeout.ms is not a list: nothing is added to it or taken from it
        Group '' consumer.session.timeout.ms Set("50000")
        => INVALID_REQUEST: Default group resources are not allowed.
        Group 'billing' consumer.session.timeout.ms Delete
        5 Config billing consumer.session.timeout.ms=None
        => ok
        Group 'billing' consumer.session.timeout.ms Delete
        => ok
        6 Config billing consumer.heartbeat.interval.ms=Some("6000")
        => ok
        => ok
        7 Config billing consumer.heartbeat.interval.ms=None
        8 Config billing consumer.session.timeout.ms=Some("60000")
        => ok
    "#]]);
}
