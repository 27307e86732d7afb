//! Configs of single groups over the wire: set, changed, removed and described in every version, refused as Kafka refuses them, followed by
//! the coordinator, and there after a restart.

use std::time::{Duration, Instant};

use ottla::protocol::messages::alter_configs_request::{
    AlterConfigsResource as Replaced, AlterableConfig as ReplacedConfig,
};
use ottla::protocol::messages::describe_configs_request::DescribeConfigsResource;
use ottla::protocol::messages::describe_configs_response::DescribeConfigsResult;
use ottla::protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource, AlterableConfig,
};
use ottla::protocol::messages::{
    AlterConfigsRequest, DescribeConfigsRequest, IncrementalAlterConfigsRequest, Message,
};
use ottla::types::ErrorCode;

use super::consumer_groups::{beat, heard, join, refused, start};
use super::data::create;
use crate::support::Client;

const GROUP: i8 = 32;
const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;
const SESSION: &str = "consumer.session.timeout.ms";
const INTERVAL: &str = "consumer.heartbeat.interval.ms";
/// Kafka's numbers of where a value comes from.
const OF_GROUP: i8 = 8;
const DEFAULT: i8 = 5;

/// Changes configs of a group; the answer.
fn change(
    client: &mut Client,
    version: i16,
    group: &str,
    configs: &[(&str, i8, Option<&str>)],
    validate_only: bool,
) -> (ErrorCode, Option<String>) {
    let configs = configs.iter().map(|(name, config_operation, value)| AlterableConfig {
        name: (*name).to_owned(),
        config_operation: *config_operation,
        value: value.map(str::to_owned),
    });
    let resource = AlterConfigsResource {
        resource_type: GROUP,
        resource_name: group.to_owned(),
        configs: configs.collect(),
    };
    let request = IncrementalAlterConfigsRequest { resources: vec![resource], validate_only };
    let mut answer = client.ask(version, &request);
    let response = answer.responses.remove(0);
    assert_eq!((response.resource_type, response.resource_name.as_str()), (GROUP, group));
    (response.error_code, response.error_message)
}

#[track_caller]
fn set(client: &mut Client, group: &str, configs: &[(&str, &str)]) {
    let configs: Vec<_> = configs.iter().map(|(name, value)| (*name, SET, Some(*value))).collect();
    assert_eq!(change(client, 1, group, &configs, false), (ErrorCode::None, None));
}

fn describe(client: &mut Client, version: i16, group: &str) -> DescribeConfigsResult {
    let resource = DescribeConfigsResource {
        resource_type: GROUP,
        resource_name: group.to_owned(),
        configuration_keys: None,
    };
    let request = DescribeConfigsRequest {
        resources: vec![resource],
        include_synonyms: true,
        include_documentation: version >= 3,
    };
    client.ask(version, &request).results.remove(0)
}

/// Each config's value, and where it comes from.
#[track_caller]
fn check(client: &mut Client, group: &str, interval: (&str, i8), session: (&str, i8)) {
    for version in DescribeConfigsRequest::VERSIONS.iter() {
        let described = describe(client, version, group);
        assert_eq!(described.error_code, ErrorCode::None);
        let configs = described.configs.iter().map(|config| {
            assert!(!config.read_only && !config.is_sensitive);
            assert_eq!(config.documentation.is_some(), version >= 3, "{config:?}");
            let synonym = &config.synonyms[0];
            assert_eq!((&synonym.value, synonym.source), (&config.value, config.config_source));
            (config.name.as_str(), config.value.as_deref().unwrap(), config.config_source)
        });
        let expected = [(INTERVAL, interval.0, interval.1), (SESSION, session.0, session.1)];
        assert_eq!(configs.collect::<Vec<_>>(), expected, "version {version}");
    }
}

#[test]
fn configs_of_groups_change_in_every_version_and_are_there_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let (server, mut client) = start(dir.path(), &[]);
    let client_of_first = &mut client;
    check(client_of_first, "nobody", ("5000", DEFAULT), ("45000", DEFAULT));
    for version in IncrementalAlterConfigsRequest::VERSIONS.iter() {
        let both = [(SESSION, SET, Some("50000")), (INTERVAL, SET, Some("6000"))];
        let answer = change(client_of_first, version, "g", &both, false);
        assert_eq!(answer, (ErrorCode::None, None));
        check(client_of_first, "g", ("6000", OF_GROUP), ("50000", OF_GROUP));
        let answer = change(client_of_first, version, "g", &[(SESSION, DELETE, None)], false);
        assert_eq!(answer, (ErrorCode::None, None));
        check(client_of_first, "g", ("6000", OF_GROUP), ("45000", DEFAULT));
        let only_asked = [(SESSION, SET, Some("60000"))];
        let answer = change(client_of_first, version, "g", &only_asked, true);
        assert_eq!(answer, (ErrorCode::None, None));
        check(client_of_first, "g", ("6000", OF_GROUP), ("45000", DEFAULT));
    }
    // The old form: what is not named goes back to its default.
    for version in AlterConfigsRequest::VERSIONS.iter() {
        let (name, value) = (SESSION.to_owned(), Some("55000".to_owned()));
        let resource = Replaced {
            resource_type: GROUP,
            resource_name: "g".to_owned(),
            configs: vec![ReplacedConfig { name, value }],
        };
        let request = AlterConfigsRequest { resources: vec![resource], validate_only: false };
        assert_eq!(client_of_first.ask(version, &request).responses[0].error_code, ErrorCode::None);
        check(client_of_first, "g", ("5000", DEFAULT), ("55000", OF_GROUP));
        set(client_of_first, "g", &[(INTERVAL, "7000")]);
    }
    server.stop();
    let (_server, mut client) = start(dir.path(), &[]);
    check(&mut client, "g", ("7000", OF_GROUP), ("55000", OF_GROUP));
    check(&mut client, "nobody", ("5000", DEFAULT), ("45000", DEFAULT));
}

#[test]
fn what_a_group_cannot_have_is_refused_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (_server, mut client) = start(dir.path(), &[]);
    set(&mut client, "g", &[(SESSION, "50000")]);
    let long = "g".repeat(300);
    let mut check_refused =
        |group: &str, configs: &[(&str, i8, Option<&str>)], expected, why: &str| {
            let (error, message) = change(&mut client, 1, group, configs, false);
            assert_eq!((error, message.as_deref()), (expected, Some(why)));
        };
    let config = ErrorCode::InvalidConfig;
    check_refused(
        "g",
        &[(INTERVAL, SET, Some("6000")), (SESSION, SET, Some("44999"))],
        config,
        "consumer.session.timeout.ms must be greater than or equal to group.consumer.min.session.timeout.ms",
    );
    check_refused(
        "g",
        &[(SESSION, SET, Some("60001"))],
        config,
        "consumer.session.timeout.ms must be less than or equal to group.consumer.max.session.timeout.ms",
    );
    check_refused(
        "g",
        &[(INTERVAL, SET, Some("4999"))],
        config,
        "consumer.heartbeat.interval.ms must be greater than or equal to group.consumer.min.heartbeat.interval.ms",
    );
    check_refused(
        "g",
        &[(INTERVAL, SET, Some("15001"))],
        config,
        "consumer.heartbeat.interval.ms must be less than or equal to group.consumer.max.heartbeat.interval.ms",
    );
    check_refused(
        "g",
        &[("share.session.timeout.ms", SET, Some("50000"))],
        config,
        "Unknown group config name: share.session.timeout.ms",
    );
    check_refused(
        &long,
        &[(INTERVAL, SET, Some("often"))],
        config,
        "Invalid value often for configuration consumer.heartbeat.interval.ms: Not a number of type INT",
    );
    check_refused(
        "g",
        &[(INTERVAL, APPEND, Some("6000"))],
        config,
        "consumer.heartbeat.interval.ms is not a list: nothing is added to it or taken from it",
    );
    let request = ErrorCode::InvalidRequest;
    let null = "Null value not supported for : consumer.heartbeat.interval.ms";
    check_refused("g", &[(INTERVAL, SET, None)], request, null);
    let default = "Default group resources are not allowed.";
    check_refused("", &[(INTERVAL, SET, Some("6000"))], request, default);
    check(&mut client, "g", ("5000", DEFAULT), ("50000", OF_GROUP));
    // Any name will do: there need be no such group.
    set(&mut client, &long, &[(INTERVAL, "6000")]);
    check(&mut client, &long, ("6000", OF_GROUP), ("45000", DEFAULT));
    let nobody = describe(&mut client, 4, "");
    assert_eq!(nobody.error_code, request);
    assert_eq!(nobody.error_message.as_deref(), Some("Group name must not be empty"));
}

#[test]
fn members_are_told_and_held_to_what_their_group_sets() {
    let dir = tempfile::tempdir().unwrap();
    let limits = [
        ("group.consumer.min.session.timeout.ms", "1000"),
        ("group.consumer.min.heartbeat.interval.ms", "100"),
    ];
    let (_server, mut client) = start(dir.path(), &limits);
    create(&mut client, "orders", &[]);
    assert_eq!(heard(&mut client, &join("m")).0, 1);
    let interval = |client: &mut Client| client.ask(1, &beat("m", 1)).heartbeat_interval_ms;
    assert_eq!(interval(&mut client), 5_000);

    set(&mut client, "g", &[(SESSION, "1500"), (INTERVAL, "200")]);
    let deadline = Instant::now() + Duration::from_secs(30);
    while interval(&mut client) != 200 {
        assert!(Instant::now() < deadline, "the coordinator does not hear of it");
        std::thread::sleep(Duration::from_millis(20));
    }
    // Now it has a session of a second and a half, where the node's is 45 seconds.
    let began = Instant::now();
    std::thread::sleep(Duration::from_millis(3_500));
    refused(&mut client, &beat("m", 1), ErrorCode::UnknownMemberId);
    assert!(began.elapsed() < Duration::from_secs(45));
}
