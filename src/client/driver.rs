//! Connections to the nodes of a cluster: one channel each, made when first asked for.

use std::collections::BTreeMap;

use super::cluster_view::{NodeKey, Target};
use super::config::CommonConfig;
use crate::rpc::Endpoint;
use crate::rpc::driver::{Channel, ChannelConfig};
use crate::runtime::Env;

/// The channels of one client.
pub(super) struct Nodes {
    env: Env,
    config: ChannelConfig,
    channels: BTreeMap<NodeKey, (Endpoint, Channel)>,
    /// How many channels were opened: each draws jitter of its own.
    opened: u64,
}

impl Nodes {
    pub(super) fn new(config: &CommonConfig, response_bytes_max: usize, env: &Env) -> Self {
        let config = ChannelConfig {
            client_id: config.client_id.clone(),
            network: config.network(),
            response_bytes_max,
        };
        Self { env: env.clone(), config, channels: BTreeMap::new(), opened: 0 }
    }

    /// The channel to a node. One that moved gets a new channel; what waits on the old one is cut off.
    pub(super) fn channel(&mut self, target: &Target) -> Channel {
        if let Some((known, channel)) = self.channels.get(&target.node)
            && *known == target.endpoint
        {
            return channel.clone();
        }
        self.opened += 1;
        let purpose = format!("{}/channel/{}", self.config.client_id, self.opened);
        let endpoint = target.endpoint.clone();
        let channel = Channel::open(endpoint.clone(), self.config.clone(), &self.env, &purpose);
        self.channels.insert(target.node, (endpoint, channel.clone()));
        channel
    }

    /// Closes all connections once nobody waits on them.
    pub(super) fn clear(&mut self) {
        self.channels.clear();
    }
}
