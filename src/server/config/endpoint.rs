//! Listeners: what `listeners`, `advertised.listeners` and their companions say. Pure text work.

use std::collections::BTreeMap;
use std::fmt;

use super::ProcessRoles;
use crate::rpc;
use crate::types::BrokerId;

/// A named address: `NAME://host:port`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Endpoint {
    /// The listener's name, in capitals.
    pub name: String,
    /// A name or an address, an IPv6 one without brackets; empty for every address of the machine.
    pub host: String,
    /// The port; 0 takes a free one.
    pub port: u16,
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "{}://[{}]:{}", self.name, self.host, self.port)
        } else {
            write!(f, "{}://{}:{}", self.name, self.host, self.port)
        }
    }
}

/// The texts that speak of listeners.
#[derive(Clone, Debug)]
pub struct RawListeners {
    /// What the node is, which decides which of them it needs.
    pub roles: ProcessRoles,
    /// `listeners`.
    pub listeners: Vec<String>,
    /// `advertised.listeners`, where set.
    pub advertised: Option<Vec<String>>,
    /// `listener.security.protocol.map`.
    pub protocol_map: Vec<String>,
    /// Whether that was set.
    pub protocol_map_is_set: bool,
    /// `controller.listener.names`.
    pub controller_names: Vec<String>,
    /// `inter.broker.listener.name`.
    pub inter_broker: Option<String>,
}

/// What they say together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listeners {
    /// To bind, for clients and brokers: never empty for a broker, else always. Names are distinct.
    pub broker: Vec<Endpoint>,
    /// To bind, for the quorum and brokers: never empty for a controller, else always.
    pub controller: Vec<Endpoint>,
    /// The names of controllers' listeners, in capitals. Never empty.
    pub controller_names: Vec<String>,
    /// What clients are told, each with the name of one in `broker`.
    pub advertised: Vec<Endpoint>,
    /// One of the names; `PLAINTEXT` where the node is no broker.
    pub inter_broker: String,
}

/// Why they make no sense.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// The property at fault.
    pub property: &'static str,
    /// What is wrong.
    pub what: String,
    /// Why.
    pub why: String,
    /// What to do.
    pub next: &'static str,
}

/// Reads and checks them.
///
/// Kafka: `KafkaConfig.validateValues`, `CoreUtils.listenerListToEndPoints`.
pub fn resolve(raw: &RawListeners) -> Result<Listeners, Wrong> {
    let all = parse_list("listeners", &raw.listeners)?;
    let controller_names: Vec<String> =
        raw.controller_names.iter().map(|name| name.to_uppercase()).collect();
    check_protocols(raw, &all, &controller_names)?;
    check_controller_names(raw.roles, &all, &controller_names)?;
    let is_controller = |endpoint: &Endpoint| controller_names.contains(&endpoint.name);
    let (controller, broker): (Vec<_>, Vec<_>) = all.into_iter().partition(is_controller);
    if !raw.roles.has_broker() {
        check_without_broker(raw, &broker, &controller_names)?;
        let (advertised, inter_broker) = (Vec::new(), "PLAINTEXT".to_owned());
        return Ok(Listeners { broker, controller, controller_names, advertised, inter_broker });
    }
    if broker.is_empty() {
        return Err(Wrong {
            property: "listeners",
            what: "no listener is left for clients".to_owned(),
            why: "controller.listener.names takes them all".to_owned(),
            next: "add a listener, as in listeners=PLAINTEXT://:9092,CONTROLLER://:9093",
        });
    }
    let advertised = advertised(raw, &broker, &controller_names)?;
    let inter_broker = inter_broker(raw, &advertised)?;
    Ok(Listeners { broker, controller, controller_names, advertised, inter_broker })
}

fn inter_broker(raw: &RawListeners, advertised: &[Endpoint]) -> Result<String, Wrong> {
    let name = raw.inter_broker.as_ref().map_or_else(
        || {
            let plain = advertised.iter().find(|one| one.name == "PLAINTEXT");
            plain.unwrap_or(&advertised[0]).name.clone()
        },
        |name| name.to_uppercase(),
    );
    if advertised.iter().any(|endpoint| endpoint.name == name) {
        return Ok(name);
    }
    Err(Wrong {
        property: "inter.broker.listener.name",
        what: format!("inter.broker.listener.name={name} names no advertised listener"),
        why: format!("the advertised ones are {}", names(advertised)),
        next: "name one of these",
    })
}

/// A controller alone has no listeners for clients.
fn check_without_broker(
    raw: &RawListeners,
    broker: &[Endpoint],
    controller_names: &[String],
) -> Result<(), Wrong> {
    if !broker.is_empty() {
        return Err(Wrong {
            property: "listeners",
            what: format!("listeners has {}, which clients would use", names(broker)),
            why: "a node with the role controller alone serves no clients".to_owned(),
            next: "name only listeners that controller.listener.names has",
        });
    }
    let advertised = raw.advertised.as_deref().unwrap_or(&[]);
    if advertised.is_empty() {
        return Ok(());
    }
    let advertised = parse_list("advertised.listeners", advertised)?;
    match advertised.iter().find(|one| !controller_names.contains(&one.name)) {
        None => Ok(()),
        Some(other) => Err(Wrong {
            property: "advertised.listeners",
            what: format!("advertised.listeners has {}, which clients would use", other.name),
            why: "a node with the role controller alone serves no clients".to_owned(),
            next: "remove it",
        }),
    }
}

fn names(endpoints: &[Endpoint]) -> String {
    endpoints.iter().map(|one| one.name.as_str()).collect::<Vec<_>>().join(", ")
}

fn parse_list(property: &'static str, texts: &[String]) -> Result<Vec<Endpoint>, Wrong> {
    let mut endpoints: Vec<Endpoint> = Vec::new();
    for text in texts {
        let endpoint = parse_endpoint(text).map_err(|why| Wrong {
            property,
            what: format!("{property} has {text:?}, which is no listener"),
            why: why.to_owned(),
            next: "write each listener as NAME://host:port",
        })?;
        let same_name = endpoints.iter().any(|one| one.name == endpoint.name);
        // Port 0 is a free one each time; a host may be given by an IPv4 and an IPv6 listener, as in Kafka, if the names differ.
        let same_port = endpoints.iter().any(|one| {
            endpoint.port != 0 && one.port == endpoint.port && one.host == endpoint.host
        });
        if same_name || (same_port && property == "listeners") {
            return Err(Wrong {
                property,
                what: format!("{property} has {text:?} beside one like it"),
                why: "names and addresses of listeners must differ".to_owned(),
                next: "give it another name and port, and map the name in listener.security.protocol.map",
            });
        }
        endpoints.push(endpoint);
    }
    if endpoints.is_empty() {
        return Err(Wrong {
            property,
            what: format!("{property} is empty"),
            why: "a broker that nobody can reach has no use".to_owned(),
            next: "set listeners=PLAINTEXT://:9092,CONTROLLER://:9093",
        });
    }
    Ok(endpoints)
}

/// Reads `NAME://host:port`; an IPv6 address stands in brackets.
pub fn parse_endpoint(text: &str) -> Result<Endpoint, &'static str> {
    let (name, address) = text.split_once("://").ok_or("there is no ://")?;
    let known = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-' | '.');
    if name.is_empty() || !name.chars().all(known) {
        return Err("the name before :// is not made of letters, digits, - _ .");
    }
    let (host, port) = split_host_port(address)?;
    Ok(Endpoint { name: name.to_uppercase(), host, port })
}

/// Reads `host:port`; an IPv6 address stands in brackets.
pub fn split_host_port(address: &str) -> Result<(String, u16), &'static str> {
    let (host, port) = address.rsplit_once(':').ok_or("there is no port")?;
    let port: u16 = port.parse().map_err(|_| "the port is not a number from 0 to 65535")?;
    let bracketed = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let host = match bracketed {
        Some(inner) => inner,
        None if host.contains(':') => return Err("an IPv6 address stands in [brackets]"),
        None => host,
    };
    if host.contains(['/', ' ', '@']) {
        return Err("the host is not a name or an address");
    }
    Ok((host.to_owned(), port))
}

/// Reads `id@host:port`.
pub fn parse_voter(text: &str) -> Result<(BrokerId, rpc::Endpoint), &'static str> {
    let (id, address) = text.split_once('@').ok_or("there is no @")?;
    let id: i32 = id.parse().map_err(|_| "the id before @ is not a number")?;
    let (host, port) = split_host_port(address)?;
    if host.is_empty() || port == 0 {
        return Err("a voter needs a host and a port that others can reach");
    }
    if host == "0.0.0.0" || host == "::" {
        return Err("that address means every address of one's own machine");
    }
    let id = BrokerId::from_wire(id).ok_or("the id before @ is negative")?;
    Ok((id, rpc::Endpoint { host, port }))
}

fn check_protocols(
    raw: &RawListeners,
    all: &[Endpoint],
    controller_names: &[String],
) -> Result<(), Wrong> {
    let mut map: BTreeMap<String, String> = BTreeMap::new();
    for entry in &raw.protocol_map {
        let Some((name, protocol)) = entry.split_once(':') else {
            return Err(Wrong {
                property: "listener.security.protocol.map",
                what: format!("listener.security.protocol.map has {entry:?}"),
                why: "there is no colon in it".to_owned(),
                next: "write each entry as NAME:PROTOCOL",
            });
        };
        map.insert(name.trim().to_uppercase(), protocol.trim().to_uppercase());
    }
    // Kafka maps controller listeners to PLAINTEXT by itself where the map is not set.
    if !raw.protocol_map_is_set {
        for name in controller_names {
            map.entry(name.clone()).or_insert_with(|| "PLAINTEXT".to_owned());
        }
    }
    // A broker does not bind the controllers' listener, but must know how to speak there.
    let called = if raw.roles.has_controller() { &[] } else { controller_names };
    let bound = all.iter().map(|endpoint| (&endpoint.name, endpoint.to_string()));
    for (name, shown) in bound.chain(called.iter().map(|name| (name, name.clone()))) {
        match map.get(name).map(String::as_str) {
            Some("PLAINTEXT") => {}
            Some(protocol) => {
                return Err(Wrong {
                    property: "listeners",
                    what: format!("listener {shown} wants {protocol}"),
                    why: "TLS and SASL are not built in".to_owned(),
                    next: "use PLAINTEXT, and a TLS proxy in front where the network needs one",
                });
            }
            None => {
                return Err(Wrong {
                    property: "listeners",
                    what: format!("listener {shown} has no protocol"),
                    why: "its name is not in listener.security.protocol.map".to_owned(),
                    next: "add NAME:PLAINTEXT there",
                });
            }
        }
    }
    Ok(())
}

fn check_controller_names(
    roles: ProcessRoles,
    all: &[Endpoint],
    controller_names: &[String],
) -> Result<(), Wrong> {
    const PROPERTY: &str = "controller.listener.names";
    if controller_names.is_empty() {
        let (why, next) = if roles.has_controller() {
            (
                "a node with the role controller says which listener is the controller's",
                "add controller.listener.names=CONTROLLER, and CONTROLLER://:9093 to listeners",
            )
        } else {
            (
                "a broker says by which listener it calls the controllers",
                "add controller.listener.names=CONTROLLER",
            )
        };
        let (what, why) = (format!("{PROPERTY} is not set"), why.to_owned());
        return Err(Wrong { property: PROPERTY, what, why, next });
    }
    let bound = |name: &&String| all.iter().any(|one| one.name == **name);
    if !roles.has_controller() {
        return match controller_names.iter().find(bound) {
            None => Ok(()),
            Some(name) => Err(Wrong {
                property: "listeners",
                what: format!("listeners has {name}, which is the controller's"),
                why: "a node without the role controller does not serve the quorum".to_owned(),
                next: "remove it from listeners, or set process.roles=broker,controller",
            }),
        };
    }
    match controller_names.iter().find(|name| !bound(name)) {
        None => Ok(()),
        Some(name) => Err(Wrong {
            property: PROPERTY,
            what: format!("{PROPERTY} has {name}, which is no listener"),
            why: format!("the listeners are {}", names(all)),
            next: "add it to listeners, as in CONTROLLER://:9093",
        }),
    }
}

fn advertised(
    raw: &RawListeners,
    broker: &[Endpoint],
    controller_names: &[String],
) -> Result<Vec<Endpoint>, Wrong> {
    let property = if raw.advertised.is_some() { "advertised.listeners" } else { "listeners" };
    let advertised = match &raw.advertised {
        None => broker.to_vec(),
        Some(texts) => parse_list("advertised.listeners", texts)?
            .into_iter()
            .filter(|endpoint| !controller_names.contains(&endpoint.name))
            .collect(),
    };
    if advertised.is_empty() {
        return Err(Wrong {
            property,
            what: "advertised.listeners has none for clients".to_owned(),
            why: "all of them belong to the controller".to_owned(),
            next: "remove it, or name a broker's listener",
        });
    }
    for endpoint in &advertised {
        if !broker.iter().any(|one| one.name == endpoint.name) {
            return Err(Wrong {
                property,
                what: format!("advertised.listeners has {}, which is no listener", endpoint.name),
                why: format!("the listeners are {}", names(broker)),
                next: "use the same names in both",
            });
        }
        if endpoint.host == "0.0.0.0" || endpoint.host == "::" {
            return Err(Wrong {
                property,
                what: format!("clients would be told to connect to {}", endpoint.host),
                why: "that address means every address of one's own machine".to_owned(),
                next: "set advertised.listeners to a name that clients can reach",
            });
        }
    }
    Ok(advertised)
}
