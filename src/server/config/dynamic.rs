//! Broker configs that the metadata sets while brokers run: for all of them, or for one (KIP-226).
//!
//! Only what topics take from their broker can be set so; everything else is read once, at the start. What is set for one broker
//! comes before what is set for all, and both before `server.properties`.
//!
//! Kafka: `DynamicBrokerConfig`, `DynamicLogConfig.ReconfigurableConfigs`.

use crate::log::ConfigMap;
use crate::log::config::{ConfigKey, ConfigSource, TOPIC_CONFIGS};
use crate::metadata::{ConfigResource, MetadataImage, ResourceType};
use crate::types::BrokerId;

/// The topic config whose default the property `name` is, if it may be set while the broker runs. Of several properties for one
/// topic config it is the one that counts first.
pub(in crate::server) fn topic_config_of(name: &str) -> Option<&'static ConfigKey> {
    TOPIC_CONFIGS
        .iter()
        .find(|key| key.broker_names.first().is_some_and(|first| first.name == name))
}

/// `properties`, with what `image` sets for all brokers, and then for `node`, in their place.
pub(in crate::server) fn broker_configs(
    properties: &ConfigMap,
    image: &MetadataImage,
    node: BrokerId,
) -> ConfigMap {
    let mut configs = properties.clone();
    for (_, set) in layers(image, node) {
        configs.extend(set.iter().map(|(name, value)| (name.clone(), value.clone())));
    }
    configs
}

/// Where the value of the property `name` on `node` comes from, if `image` sets it.
pub(in crate::server) fn source_of(
    name: &str,
    image: &MetadataImage,
    node: BrokerId,
) -> Option<ConfigSource> {
    let sources = layers(image, node).filter(|(_, set)| set.contains_key(name));
    sources.map(|(source, _)| source).last()
}

/// What `image` sets for all brokers, then for `node`.
fn layers(
    image: &MetadataImage,
    node: BrokerId,
) -> impl Iterator<Item = (ConfigSource, &ConfigMap)> {
    let resources = [
        (ConfigSource::DynamicDefaultBroker, resource("")),
        (ConfigSource::DynamicBroker, resource(&node.to_string())),
    ];
    resources
        .into_iter()
        .filter_map(|(source, resource)| Some((source, &**image.configs(&resource)?)))
}

/// The configs of the broker `name`; the empty name is all of them.
pub(in crate::server) fn resource(name: &str) -> ConfigResource {
    ConfigResource { resource_type: ResourceType::Broker, name: name.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::records::Config;
    use crate::metadata::{ImageLoader, Record};
    use crate::types::{LeaderEpoch, Offset};

    #[test]
    fn what_is_set_for_one_broker_comes_before_all_and_both_before_its_properties() {
        let mut loader = ImageLoader::default();
        let sets = [("", "a", "all"), ("", "b", "all"), ("1", "a", "one"), ("2", "b", "two")];
        for (offset, (broker, name, value)) in (0..).zip(sets) {
            let (name, value) = (name.to_owned(), Some(value.to_owned()));
            let record = Record::Config(Config { resource: resource(broker), name, value });
            loader.replay(Offset::new(offset), LeaderEpoch::new(0), &record).unwrap();
        }
        let properties: ConfigMap =
            ["a", "b", "c"].map(|name| (name.to_owned(), "file".to_owned())).into();
        let (image, node) = (loader.image(), BrokerId::new(1));
        let configs = broker_configs(&properties, image, node);
        assert_eq!([&configs["a"], &configs["b"], &configs["c"]], ["one", "all", "file"]);
        assert_eq!(source_of("a", image, node), Some(ConfigSource::DynamicBroker));
        assert_eq!(source_of("b", image, node), Some(ConfigSource::DynamicDefaultBroker));
        assert_eq!(source_of("c", image, node), None);
        assert!(topic_config_of("min.insync.replicas").is_some());
        assert!(topic_config_of("log.retention.hours").is_none());
        assert!(topic_config_of("num.io.threads").is_none());
    }
}
