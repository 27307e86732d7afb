//! `ottla group list`: the groups of consumers, one name on each line, or with their types and states.

use ottla::client::{GroupListing, GroupState, GroupType};
use serde_json::{Value, json};

use super::Tool;
use super::table::{Column, table};
use crate::real_main::args::Format;
use crate::real_main::client::within;
use crate::real_main::failure::{Exit, Failure};
use crate::real_main::topic::print_all;

/// The types that can be asked for, as the broker names them.
const TYPES: [&str; 2] = ["classic", "consumer"];

pub(super) async fn run(
    tool: &Tool<'_>,
    states: Option<Vec<String>>,
    types: Option<Vec<String>>,
) -> Result<(), Failure> {
    let shows = Shows { types: types.is_some(), states: states.is_some() };
    let states = known(states, "state", &GroupState::NAMES)?;
    let types = known(types, "type", &TYPES)?;
    let listed = tool.admin.list_groups(&states, &types);
    let listed = within(tool.global, &tool.env, "cannot list the groups", listed).await?;
    let groups: Vec<GroupListing> =
        listed.into_iter().filter(GroupListing::is_of_consumers).collect();
    print_all(&match tool.global.format {
        Format::Text => text(&groups, shows),
        Format::Json => {
            let groups: Vec<Value> = groups.iter().map(one).collect();
            format!("{}\n", json!({ "schema": "group.list/1", "groups": groups }))
        }
        Format::Jsonl => groups.iter().map(|group| format!("{}\n", one(group))).collect(),
    })
}

/// Which columns there are beside the name.
#[derive(Clone, Copy)]
struct Shows {
    types: bool,
    states: bool,
}

/// The words that were asked for, as Kafka writes them.
fn known(
    asked: Option<Vec<String>>,
    what: &str,
    names: &[&'static str],
) -> Result<Vec<&'static str>, Failure> {
    let asked = asked.unwrap_or_default();
    let words = asked.iter().map(|word| word.trim()).filter(|word| !word.is_empty());
    let find = |word: &str| {
        let name = names.iter().find(|name| name.eq_ignore_ascii_case(word)).copied();
        name.ok_or_else(|| {
            Failure::new(Exit::Usage, format!("`{word}` is no {what} of groups"))
                .place(format!("--{what}"))
                .next(names.join(", "))
        })
    };
    words.map(find).collect()
}

/// Kafka: `ConsumerGroupCommand.printGroupInfo`.
fn text(groups: &[GroupListing], shows: Shows) -> String {
    if !shows.types && !shows.states {
        return groups.iter().map(|listed| format!("{}\n", listed.group)).collect();
    }
    let widest = groups.iter().map(|listed| listed.group.chars().count()).max().unwrap_or(0);
    let mut columns = vec![Column("GROUP", widest.max(15) + 10)];
    if shows.types {
        columns.push(Column("TYPE", 20));
    }
    if shows.states {
        columns.push(Column("STATE", 20));
    }
    let row = |listed: &GroupListing| {
        let mut row = vec![listed.group.clone()];
        row.extend(shows.types.then(|| listed.group_type.to_string()));
        row.extend(shows.states.then(|| listed.state.to_string()));
        row
    };
    let rows: Vec<Vec<String>> = groups.iter().map(row).collect();
    table(&columns, &rows)
}

fn one(listed: &GroupListing) -> Value {
    json!({
        "group": listed.group,
        "type": type_word(&listed.group_type),
        "state": state_word(&listed.state),
        "protocol_type": listed.protocol_type,
    })
}

/// For machines: `null` where the broker does not tell.
pub(super) fn type_word(group_type: &GroupType) -> Option<String> {
    let is_told = !matches!(group_type, GroupType::Other(name) if name.is_empty());
    is_told.then(|| group_type.to_string())
}

/// For machines: `null` where the broker does not tell.
pub(super) fn state_word(state: &GroupState) -> Option<String> {
    let is_told = !matches!(state, GroupState::Other(name) if name.is_empty());
    is_told.then(|| state.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(group: &str, group_type: &str, state: &str) -> GroupListing {
        GroupListing {
            group: group.to_owned(),
            protocol_type: String::new(),
            state: GroupState::from_name(state),
            group_type: GroupType::from_name(group_type),
        }
    }

    #[test]
    fn a_list_has_names_alone_or_the_columns_that_were_asked_for() {
        let groups = [listed("billing", "classic", "Empty"), listed("a", "kite", "")];
        let shows = |types, states| Shows { types, states };
        assert_eq!(text(&groups, shows(false, false)), "billing\na\n");
        let expected = "\
GROUP                     STATE
billing                   Empty
a                         Unknown
";
        assert_eq!(text(&groups, shows(false, true)), expected);
        let expected = "\
GROUP                     TYPE                 STATE
billing                   Classic              Empty
a                         kite                 Unknown
";
        assert_eq!(text(&groups, shows(true, true)), expected);
        let expected = json!({ "group": "a", "type": "kite", "state": null, "protocol_type": "" });
        assert_eq!(one(&groups[1]), expected);
    }

    #[test]
    fn states_are_known_in_any_case() {
        let asked = |words: &[&str]| Some(words.iter().map(|word| (*word).to_owned()).collect());
        let names = &GroupState::NAMES;
        assert_eq!(
            known(asked(&["stable", " EMPTY"]), "state", names).unwrap(),
            ["Stable", "Empty"]
        );
        assert_eq!(known(asked(&[]), "state", names).unwrap(), Vec::<&str>::new());
        let refused = known(asked(&["asleep"]), "state", names).unwrap_err().to_string();
        assert!(refused.contains("`asleep` is no state of groups"), "{refused}");
        assert!(refused.contains("PreparingRebalance, CompletingRebalance, Stable"), "{refused}");
    }
}
