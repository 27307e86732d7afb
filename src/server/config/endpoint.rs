//! Listeners: what `listeners`, `advertised.listeners` and their companions say. Pure text work.

use std::collections::BTreeMap;
use std::fmt;

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
#[derive(Clone, Debug, Default)]
pub struct RawListeners {
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
    /// To bind, for clients and brokers. Never empty; names are distinct.
    pub broker: Vec<Endpoint>,
    /// Of the controller.
    pub controller: Vec<Endpoint>,
    /// What clients are told, each with the name of one in `broker`.
    pub advertised: Vec<Endpoint>,
    /// One of the names.
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
    check_controller_names(&all, &controller_names)?;
    let is_controller = |endpoint: &Endpoint| controller_names.contains(&endpoint.name);
    let (controller, broker): (Vec<_>, Vec<_>) = all.into_iter().partition(is_controller);
    if broker.is_empty() {
        return Err(Wrong {
            property: "listeners",
            what: "no listener is left for clients".to_owned(),
            why: "controller.listener.names takes them all".to_owned(),
            next: "add a listener, as in listeners=PLAINTEXT://:9092,CONTROLLER://:9093",
        });
    }
    let advertised = advertised(raw, &broker, &controller_names)?;
    let inter_broker = raw.inter_broker.as_ref().map_or_else(
        || {
            advertised
                .iter()
                .find(|one| one.name == "PLAINTEXT")
                .unwrap_or(&advertised[0])
                .name
                .clone()
        },
        |name| name.to_uppercase(),
    );
    if !advertised.iter().any(|endpoint| endpoint.name == inter_broker) {
        return Err(Wrong {
            property: "inter.broker.listener.name",
            what: format!("inter.broker.listener.name={inter_broker} names no advertised listener"),
            why: format!("the advertised ones are {}", names(&advertised)),
            next: "name one of these",
        });
    }
    Ok(Listeners { broker, controller, advertised, inter_broker })
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

/// Reads `id@host:port`, giving the id.
pub fn parse_voter(text: &str) -> Result<BrokerId, &'static str> {
    let (id, address) = text.split_once('@').ok_or("there is no @")?;
    let id: i32 = id.parse().map_err(|_| "the id before @ is not a number")?;
    let (host, port) = split_host_port(address)?;
    if host.is_empty() || port == 0 {
        return Err("a voter needs a host and a port that others can reach");
    }
    BrokerId::from_wire(id).ok_or("the id before @ is negative")
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
    for endpoint in all {
        match map.get(&endpoint.name).map(String::as_str) {
            Some("PLAINTEXT") => {}
            Some(protocol) => {
                return Err(Wrong {
                    property: "listeners",
                    what: format!("listener {endpoint} wants {protocol}"),
                    why: "TLS and SASL are not built in".to_owned(),
                    next: "use PLAINTEXT, and a TLS proxy in front where the network needs one",
                });
            }
            None => {
                return Err(Wrong {
                    property: "listeners",
                    what: format!("listener {endpoint} has no protocol"),
                    why: "its name is not in listener.security.protocol.map".to_owned(),
                    next: "add NAME:PLAINTEXT there",
                });
            }
        }
    }
    Ok(())
}

fn check_controller_names(all: &[Endpoint], controller_names: &[String]) -> Result<(), Wrong> {
    if controller_names.is_empty() {
        return Err(Wrong {
            property: "controller.listener.names",
            what: "controller.listener.names is not set".to_owned(),
            why: "a node with the role controller says which listener is the controller's"
                .to_owned(),
            next: "add controller.listener.names=CONTROLLER, and CONTROLLER://:9093 to listeners",
        });
    }
    let missing = controller_names.iter().find(|name| !all.iter().any(|one| one.name == **name));
    match missing {
        None => Ok(()),
        Some(name) => Err(Wrong {
            property: "controller.listener.names",
            what: format!("controller.listener.names has {name}, which is no listener"),
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
