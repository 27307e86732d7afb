//! Connections to the nodes of a cluster: one channel each, made when first asked for.

use std::collections::BTreeMap;

use super::cluster_view::{ClusterView, NodeKey};
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

    /// The channel to a node; `None` where nobody knows where it listens. A node that moved gets a new one.
    pub(super) fn channel(&mut self, view: &ClusterView, node: NodeKey) -> Option<Channel> {
        let endpoint = view.endpoint(node)?;
        if let Some((known, channel)) = self.channels.get(&node)
            && known == endpoint
        {
            return Some(channel.clone());
        }
        self.opened += 1;
        let purpose = format!("{}/channel/{}", self.config.client_id, self.opened);
        let channel = Channel::open(endpoint.clone(), self.config.clone(), &self.env, &purpose);
        self.channels.insert(node, (endpoint.clone(), channel.clone()));
        Some(channel)
    }

    /// Closes all connections once nobody waits on them.
    pub(super) fn clear(&mut self) {
        self.channels.clear();
    }
}
