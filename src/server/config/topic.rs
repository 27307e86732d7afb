//! Whether a config that a client sets on a topic or broker may have its value. The table of topics' configs is the log's.

use super::dynamic::topic_config_of;
use super::table;
use super::{check_text, split_list};
use crate::coordinator::group::OFFSETS_TOPIC;
use crate::log::config::{ConfigType, topic_config};
use crate::log::{ConfigMap, LogConfig};
use crate::metadata::{ConfigResource, ResourceType};

/// Whether a config may have a value. Errors: a sentence for the person who set it.
///
/// Kafka: `ControllerConfigurationValidator`.
pub fn validate(resource: &ConfigResource, name: &str, value: &str) -> Result<(), String> {
    match resource.resource_type {
        ResourceType::Topic => {
            validate_topic(name, value)?;
            check_policy(&resource.name, name, value)
        }
        ResourceType::Broker => validate_broker(name, value),
        // The controller looks at all that a group has at once.
        ResourceType::Group => Ok(()),
    }
}

/// Only what takes effect while the broker runs can be set so.
fn validate_broker(name: &str, value: &str) -> Result<(), String> {
    let Some(row) = table::row(name) else {
        return Err(format!("Unknown broker config name: {name}"));
    };
    let Some(key) = topic_config_of(name) else {
        return Err(format!("Cannot update these configs dynamically: {name}"));
    };
    check_text(row.kind, row.range, value)
        .map_err(|why| format!("Invalid value {value} for configuration {name}: {why}"))?;
    validate_topic(key.name, value)?;
    check_policy("", key.name, value)
}

fn validate_topic(name: &str, value: &str) -> Result<(), String> {
    let topic = ConfigMap::from([(name.to_owned(), value.to_owned())]);
    LogConfig::new(&ConfigMap::new(), &topic).map(|_| ()).map_err(|error| error.to_string())
}

/// Nothing removes overwritten records yet. Only the offsets topic is marked as Kafka marks it, for the day when something does.
fn check_policy(topic: &str, name: &str, value: &str) -> Result<(), String> {
    let is_compacted = split_list(value).iter().any(|one| one == "compact");
    if name == "cleanup.policy" && is_compacted && topic != OFFSETS_TOPIC {
        return Err("cleanup.policy=compact is not built in yet".to_owned());
    }
    Ok(())
}

/// Kafka's default of a config that is a list; `None` where it is none or unknown.
pub fn list_default(resource: &ConfigResource, name: &str) -> Option<String> {
    let default = match resource.resource_type {
        ResourceType::Topic => {
            let key = topic_config(name).ok()?;
            (key.kind == ConfigType::List).then_some(key.default)
        }
        ResourceType::Group => None,
        ResourceType::Broker => {
            let row = table::row(name)?;
            (row.kind == table::Kind::List).then_some(row.default.unwrap_or(""))
        }
    };
    default.map(str::to_owned)
}
