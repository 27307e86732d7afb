//! DescribeConfigs: what is configured on a topic, on this broker or for a group, where it comes from, and what it means.

use std::sync::Arc;

use super::Call;
use super::metadata::is_valid_topic_name;
use crate::log::ConfigMap;
use crate::log::config::{ConfigSource, describe as describe_topic_configs};
use crate::metadata::ConfigResource;
use crate::metadata::group_config::{GroupConfigRanges, HEARTBEAT_INTERVAL, SESSION_TIMEOUT};
use crate::protocol::messages::describe_configs_request::DescribeConfigsResource;
use crate::protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym,
};
use crate::protocol::messages::{DescribeConfigsRequest, DescribeConfigsResponse};
use crate::server::config::dynamic;
use crate::server::config::table::{Class, Kind, ROWS, Row, row};
use crate::types::ErrorCode;

/// Kafka: `ConfigResource.Type`.
const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const GROUP: i8 = 32;

/// Kafka: `DescribeConfigsResponse.ConfigSource.GROUP_CONFIG`.
const SOURCE_GROUP: i8 = 8;

pub(super) async fn handle(
    call: &Call<'_>,
    request: DescribeConfigsRequest,
) -> DescribeConfigsResponse {
    let show =
        Show { synonyms: request.include_synonyms, documentation: request.include_documentation };
    let results = request.resources.into_iter().map(|resource| describe(call, resource, show));
    DescribeConfigsResponse { results: results.collect(), ..Default::default() }
}

#[derive(Clone, Copy)]
struct Show {
    synonyms: bool,
    documentation: bool,
}

fn describe(
    call: &Call<'_>,
    resource: DescribeConfigsResource,
    show: Show,
) -> DescribeConfigsResult {
    let configs = match resource.resource_type {
        TOPIC => describe_topic(call, &resource.resource_name, show),
        BROKER => describe_broker(call, &resource.resource_name, show),
        GROUP => describe_group(call, &resource.resource_name, show),
        other => Err((ErrorCode::InvalidRequest, format!("Unsupported resource type: {other}"))),
    };
    let (error_code, error_message, configs) = match configs {
        Ok(configs) => (ErrorCode::None, None, configs),
        Err((error, message)) => (error, Some(message), Vec::new()),
    };
    let wanted = resource.configuration_keys.filter(|keys| !keys.is_empty());
    let is_wanted = |config: &DescribeConfigsResourceResult| match &wanted {
        Some(keys) => keys.contains(&config.name),
        None => true,
    };
    DescribeConfigsResult {
        error_code,
        error_message,
        resource_type: resource.resource_type,
        resource_name: resource.resource_name,
        configs: configs.into_iter().filter(is_wanted).collect(),
    }
}

type Described = Result<Vec<DescribeConfigsResourceResult>, (ErrorCode, String)>;

fn describe_topic(call: &Call<'_>, name: &str, show: Show) -> Described {
    if !is_valid_topic_name(name) {
        let message = format!("Topic name is invalid: '{name}'");
        return Err((ErrorCode::InvalidTopicException, message));
    }
    let image = call.broker.image();
    if image.topic(name).is_none() {
        return Err((
            ErrorCode::UnknownTopicOrPartition,
            ErrorCode::UnknownTopicOrPartition.name().to_owned(),
        ));
    }
    let none = ConfigMap::new();
    let topic = image.topic_configs(name).map_or(&none, |set| &**set);
    let node = call.broker.config.node_id;
    let broker = dynamic::broker_configs(&call.broker.config.broker_configs(), &image, node);
    let entries = describe_topic_configs(&broker, topic);
    let source_of = |name: &str, source| match source {
        ConfigSource::StaticBroker => dynamic::source_of(name, &image, node).unwrap_or(source),
        ConfigSource::DynamicTopic
        | ConfigSource::DynamicBroker
        | ConfigSource::DynamicDefaultBroker
        | ConfigSource::Default => source,
    };
    let described = entries.into_iter().map(|mut entry| {
        for synonym in &mut entry.synonyms {
            synonym.source = source_of(synonym.name, synonym.source);
        }
        entry.source = entry.synonyms.first().map_or(entry.source, |first| first.source);
        let synonyms = entry.synonyms.into_iter().map(|synonym| DescribeConfigsSynonym {
            name: synonym.name.to_owned(),
            value: Some(synonym.value),
            source: synonym.source.id(),
        });
        DescribeConfigsResourceResult {
            name: entry.key.name.to_owned(),
            value: Some(entry.value),
            read_only: false,
            config_source: entry.source.id(),
            is_sensitive: false,
            synonyms: if show.synonyms { synonyms.collect() } else { Vec::new() },
            config_type: entry.key.kind.id(),
            documentation: show.documentation.then(|| entry.key.doc.to_owned()),
        }
    });
    Ok(described.collect())
}

/// Of any group, whether or not it is there. What it does not set is the coordinator's own setting, which Kafka calls the default too.
fn describe_group(call: &Call<'_>, id: &str, show: Show) -> Described {
    if id.is_empty() {
        let message = "Group name must not be empty".to_owned();
        return Err((ErrorCode::InvalidRequest, message));
    }
    let image = call.broker.image();
    let set = image.configs(&ConfigResource::group(id)).cloned().unwrap_or_default();
    let GroupConfigRanges { session_timeout, heartbeat_interval } =
        call.broker.config.groups.group_configs;
    let configs = [
        (HEARTBEAT_INTERVAL, "group.consumer.heartbeat.interval.ms", heartbeat_interval.default),
        (SESSION_TIMEOUT, "group.consumer.session.timeout.ms", session_timeout.default),
    ];
    let described = configs.into_iter().map(|(name, of_broker, default)| {
        let own = set.get(name);
        let value = Some(own.cloned().unwrap_or_else(|| default.to_string()));
        let source = if own.is_some() { SOURCE_GROUP } else { ConfigSource::Default.id() };
        let synonym =
            DescribeConfigsSynonym { name: name.to_owned(), value: value.clone(), source };
        let doc = || row(of_broker).map(|row| row.doc.to_owned());
        DescribeConfigsResourceResult {
            name: name.to_owned(),
            value,
            read_only: false,
            config_source: source,
            is_sensitive: false,
            synonyms: if show.synonyms { vec![synonym] } else { Vec::new() },
            config_type: type_code(Kind::Int),
            documentation: if show.documentation { doc() } else { None },
        }
    });
    Ok(described.collect())
}

fn describe_broker(call: &Call<'_>, name: &str, show: Show) -> Described {
    let image = call.broker.image();
    // The empty name is what is set for all brokers while they run.
    if name.is_empty() {
        let all = dynamic::resource("");
        let set = image.configs(&all).into_iter().flat_map(|set| set.iter());
        let described = set.filter_map(|(name, value)| {
            let property =
                Property { row: row(name)?, properties: None, all: Some(value.clone()), own: None };
            Some(describe_property(property, show))
        });
        return Ok(described.collect());
    }
    let own = call.broker.config.node_id;
    match name.parse::<i32>() {
        Ok(id) if id == own.value() => {}
        Ok(id) => {
            let message =
                format!("Unexpected broker id, expected {own} or empty string, but received {id}");
            return Err((ErrorCode::InvalidRequest, message));
        }
        Err(_) => {
            let message = format!("Broker id must be an integer, but it is: {name}");
            return Err((ErrorCode::InvalidRequest, message));
        }
    }
    let settings = call.broker.config.settings();
    let (all, own) = (dynamic::resource(""), dynamic::resource(name));
    let (all, own) = (image.configs(&all), image.configs(&own));
    let shown = ROWS.iter().filter(|row| !matches!(row.class, Class::Refused(_)));
    let described = shown.map(|row| {
        let set = |configs: Option<&'_ Arc<ConfigMap>>| configs?.get(row.name).cloned();
        let property = Property {
            row,
            properties: settings.get(row.name).map(|setting| setting.text.clone()),
            all: set(all),
            own: set(own),
        };
        describe_property(property, show)
    });
    Ok(described.collect())
}

/// A property, and what it is set to.
struct Property {
    row: &'static Row,
    /// In `server.properties`.
    properties: Option<String>,
    /// In the metadata, for all brokers.
    all: Option<String>,
    /// In the metadata, for this one.
    own: Option<String>,
}

fn describe_property(property: Property, show: Show) -> DescribeConfigsResourceResult {
    let Property { row, properties, all, own } = property;
    let is_sensitive = row.kind == Kind::Password;
    let visible = |text: &str| (!is_sensitive).then(|| text.to_owned());
    let given: Vec<(String, ConfigSource)> = [
        (own, ConfigSource::DynamicBroker),
        (all, ConfigSource::DynamicDefaultBroker),
        (properties, ConfigSource::StaticBroker),
        (row.default.map(str::to_owned), ConfigSource::Default),
    ]
    .into_iter()
    .filter_map(|(text, source)| Some((text?, source)))
    .collect();
    let synonyms = given.iter().filter(|_| show.synonyms).map(|(text, source)| {
        let (name, value) = (row.name.to_owned(), visible(text));
        DescribeConfigsSynonym { name, value, source: source.id() }
    });
    let (value, source) = match given.first() {
        Some((text, source)) => (visible(text), *source),
        None => (None, ConfigSource::Default),
    };
    DescribeConfigsResourceResult {
        name: row.name.to_owned(),
        value,
        read_only: dynamic::topic_config_of(row.name).is_none(),
        config_source: source.id(),
        is_sensitive,
        synonyms: synonyms.collect(),
        config_type: type_code(row.kind),
        documentation: show.documentation.then(|| row.doc.to_owned()),
    }
}

/// Kafka: `DescribeConfigsResponse.ConfigType`.
const fn type_code(kind: Kind) -> i8 {
    match kind {
        Kind::Boolean => 1,
        Kind::String => 2,
        Kind::Int => 3,
        Kind::Short => 4,
        Kind::Long => 5,
        Kind::Double => 6,
        Kind::List => 7,
        Kind::Class => 8,
        Kind::Password => 9,
    }
}
