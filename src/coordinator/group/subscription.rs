//! What the members of a consumer group read: topics by their names, and topics that fit a regular expression (KIP-848).
//!
//! An expression stands for the topics whose whole name fits it, the cluster's own included. What it stands for is in the log, a record for
//! each expression that a member has, and is found out anew where topics came, went or changed.
//!
//! Otherwise than Kafka, which does this with RE2/J, in the background and every ten seconds at most: here the heartbeat that is the first to
//! see other topics finds it out, and the syntax is that of `regex-lite`. Both need time linear in the name, and both refuse look-around and
//! back-references. Of RE2/J's, `\Q…\E`, `\C` and `\pN` are refused; `(?x)` and `\u{…}` are understood besides. An
//! expression that takes more than [`PROGRAM_BYTES_MAX`] is refused, where RE2/J refuses a repetition of more than 1,000 times.
//!
//! Kafka: `GroupMetadataManager.maybeUpdateRegularExpressions`, `refreshRegularExpressions`.

use std::collections::BTreeSet;

use regex_lite::{Regex, RegexBuilder};

use super::consumer_group::ConsumerGroup;
use super::request::TopicTable;
use crate::protocol::coordinator_records::ConsumerGroupMemberMetadataValue;
use crate::types::TopicId;

/// How large an expression may become when it is compiled, in bytes: hundreds of topic names fit, and nobody can keep a coordinator busy
/// for long with thousands of topics.
const PROGRAM_BYTES_MAX: usize = 256 << 10;

/// A regular expression that whole names of topics fit, or do not.
#[derive(Debug)]
pub struct TopicPattern(Regex);

impl TopicPattern {
    /// Reads an expression.
    ///
    /// # Errors
    /// Why it is none, in words for a person.
    pub fn new(expression: &str) -> Result<Self, String> {
        let compile = |text: &str| {
            let built = RegexBuilder::new(text).size_limit(PROGRAM_BYTES_MAX).build();
            built.map_err(|error| error.to_string())
        };
        // Alone first: it must not close the bracket that is put around it.
        compile(expression)?;
        compile(&format!(r"\A(?:{expression})\z")).map(Self)
    }

    /// Whether the whole name fits.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        self.0.is_match(name)
    }

    /// The topics that fit, by their names.
    pub(super) fn topics(&self, topics: &TopicTable) -> Vec<String> {
        let names = topics.keys().filter(|name| self.matches(name));
        names.map(|name| name.as_ref().to_owned()).collect()
    }
}

/// The expression that a member has; an empty one is none.
pub(super) fn expression_of(member: &ConsumerGroupMemberMetadataValue) -> Option<&str> {
    member.subscribed_topic_regex.as_deref().filter(|expression| !expression.is_empty())
}

impl ConsumerGroup {
    /// The expressions that members have.
    pub(super) fn expressions(&self) -> BTreeSet<&str> {
        self.members.values().filter_map(|member| expression_of(member)).collect()
    }

    /// The names of the topics that a member reads, whether they exist or not.
    fn names_read_by<'a>(
        &'a self,
        member: &'a ConsumerGroupMemberMetadataValue,
    ) -> impl Iterator<Item = &'a str> {
        let fitting =
            expression_of(member).and_then(|expression| self.regular_expressions.get(expression));
        let names = member.subscribed_topic_names.iter().chain(fitting.into_iter().flatten());
        names.map(String::as_str)
    }

    /// The topics that a member reads, of those that exist.
    pub(super) fn reads(
        &self,
        member: &ConsumerGroupMemberMetadataValue,
        topics: &TopicTable,
    ) -> BTreeSet<TopicId> {
        let known = self.names_read_by(member).filter_map(|name| topics.get(name));
        known.map(|topic| topic.id).collect()
    }

    /// The names of the topics that anybody reads.
    pub(super) fn names_read(&self) -> BTreeSet<&str> {
        self.members.values().flat_map(|member| self.names_read_by(member)).collect()
    }

    /// Whether somebody reads `topic`.
    pub(super) fn is_subscribed_to(&self, topic: &str) -> bool {
        self.members.values().any(|member| self.names_read_by(member).any(|name| name == topic))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expression_must_fit_the_whole_name() {
        let check = |expression: &str, fitting: &[&str], others: &[&str]| {
            let pattern = TopicPattern::new(expression).unwrap();
            assert!(fitting.iter().all(|name| pattern.matches(name)), "{expression}");
            assert!(!others.iter().any(|name| pattern.matches(name)), "{expression}");
        };
        check("a|ab", &["a", "ab"], &["abc", "ba", "b"]);
        check("^orders-.*$", &["orders-", "orders-eu"], &["orders", "my-orders-eu"]);
        check(r"t\d{2}", &["t00", "t42"], &["t1", "t123", "tx1"]);
        check("(?i)ORDERS", &["orders", "Orders"], &["orders2"]);
        check("[[:alpha:]]+", &["abc"], &["a1"]);
        check(".*", &["", "a", "__consumer_offsets"], &[]);
        check("(?x) o r d e r s", &["orders"], &["o r d e r s"]);
    }

    #[test]
    fn what_is_no_expression_is_refused_and_so_is_one_that_would_take_long() {
        let bad = ["(", "a)|(?:b", "[", "a**(", "(?=a)", r"(a)\1", r"\Qa\E", r"\pL", "a{2,1}"];
        for expression in bad {
            let error = TopicPattern::new(expression).expect_err(expression);
            assert!(!error.is_empty(), "{expression}");
        }
        assert!(TopicPattern::new("(?x)a # no end").is_err());
        assert!(TopicPattern::new("((a{100}){100}){100}").is_err());
        let names: Vec<String> = (0..500).map(|index| format!("orders-{index}")).collect();
        assert!(TopicPattern::new(&names.join("|")).is_ok());
    }
}
