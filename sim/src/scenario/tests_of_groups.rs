//! Consumer groups in files: what is read, and what is said of those that make no sense.

use super::duration::Span;
use super::good_file::{GoodFile, load};
use super::plan::{Action, CommitStyle, ResetTo, ResetWay, StartFrom, WorkloadKind};
use super::target::PartitionName;

const GOOD: GoodFile = GoodFile(
    r#"
claim = "A group reads everything."
run-for = "20s"

[topics.orders]
partitions = 2

[workloads.billing]
kind = "consumer"
topic = "orders"
group = "billing"
commit = "each-record"
config = { "max.poll.records" = 10 }

[[timeline]]
at = "5s"
do = "kill-client"
target = "billing/0"

[[timeline]]
at = "6s"
do = "start"
target = "billing/0"

[[timeline]]
at = "7s"
do = "add-partitions"
topic = "orders"
partitions = 4

[[timeline]]
at = "8s"
do = "kill"
target = "coordinator(group:billing)"

[[expect]]
that = "unprocessed-acked"
group = "billing"
partition = "orders-3"
is = 0
bites = true
"#,
);

#[test]
fn a_group_is_read_with_what_its_members_do() {
    let plan = GOOD.load().unwrap_or_else(|said| panic!("{said}")).plan(None, 1);
    let groups = plan.groups();
    assert_eq!(groups["billing"].iter().copied().collect::<Vec<_>>(), ["orders"]);
    assert_eq!(plan.partitions_ever("orders"), 4);
    let WorkloadKind::Consumer { commit, static_members, from, poll_timeout, .. } =
        &plan.workloads["billing"].kind
    else {
        panic!("it is a consumer")
    };
    assert_eq!((*commit, *static_members), (Some(CommitStyle::EachRecord), false));
    assert_eq!((*from, poll_timeout.to_string().as_str()), (StartFrom::Earliest, "500ms"));
}

#[test]
fn where_members_start_and_how_long_they_poll_is_said_by_words() {
    let told = |from: &str, to: &str| {
        load(&GOOD.0.replacen(from, to, 1)).unwrap_or_else(|said| panic!("{said}")).plan(None, 1)
    };
    for (word, expected) in [
        ("earliest", StartFrom::Earliest),
        ("latest", StartFrom::Latest),
        ("none", StartFrom::None),
    ] {
        let plan = told("commit = ", &format!("from = \"{word}\"\ncommit = "));
        let WorkloadKind::Consumer { from, .. } = &plan.workloads["billing"].kind else {
            panic!("it is a consumer")
        };
        assert_eq!(*from, expected);
        assert_eq!(from.name(), word);
    }
    GOOD.refused(
        "commit = ",
        "from = \"oldest\"\ncommit = ",
        "x.toml:12:9: `from`: `oldest` is not a place to start: known are earliest, latest, none",
    );
    GOOD.refused(
        "commit = ",
        "from = 3\ncommit = ",
        "x.toml:12:8: `from`: expected a place to start, found the number 3",
    );
    GOOD.refused(
        "commit = ",
        "poll-timeout = \"0s\"\ncommit = ",
        "x.toml:12:17: a poll that waits for nothing lets no time pass",
    );
    GOOD.refused(
        "commit = ",
        "poll-timeout = 100\ncommit = ",
        "`poll-timeout`: the duration `100` has no unit",
    );
}

#[test]
fn records_are_deleted_from_a_partition_that_is_there() {
    let step = |fields: &str| {
        GOOD.0
            .replacen(
                "do = \"add-partitions\"\ntopic = \"orders\"\npartitions = 4",
                &format!("do = \"delete-records\"\n{fields}"),
                1,
            )
            .replace("orders-3", "orders-1")
    };
    let plan = load(&step("partition = \"orders-1\"")).unwrap_or_else(|said| panic!("{said}"));
    let Action::DeleteRecords { partition, before } = &plan.plan(None, 1).timeline[2].action else {
        panic!("it deletes")
    };
    assert_eq!((partition.to_string().as_str(), *before), ("orders-1", None));
    assert!(load(&step("partition = \"orders-0\"\nbefore = 5")).is_ok());
    for (fields, expected) in [
        ("partition = \"orders-9\"", "there is no partition `orders-9`: `orders` has 2, from 0"),
        ("partition = \"orders\"", "not a partition"),
        ("before = 5", "`delete-records`: `partition` is missing"),
        (
            "partition = \"orders-0\"\nbefore = \"all\"",
            "`before`: expected a whole number, found the text \"all\"",
        ),
    ] {
        let said = load(&step(fields)).unwrap_err();
        assert!(said.contains(expected), "{said}");
    }
}

#[test]
fn polls_are_expected_of_workloads_by_what_they_gave() {
    let expect = |fields: &str| {
        GOOD.0.replacen(
            "that = \"unprocessed-acked\"\ngroup = \"billing\"\npartition = \"orders-3\"\nis = 0",
            fields,
            1,
        )
    };
    let good = "that = \"poll-wait\"\nworkload = \"billing\"\ngave = \"nothing\"\npercentile = 1\nis = \">= 500ms\"";
    assert!(load(&expect(good)).is_ok(), "{:?}", load(&expect(good)).err());
    for (fields, expected) in [
        (
            "that = \"poll-wait\"\ngave = \"record\"\nis = \"1s\"",
            "`record` is not what a poll gives: did you mean `records`?",
        ),
        ("that = \"poll-wait\"\nis = 3", "`3` is not a duration"),
        (
            "that = \"poll-records\"\nworkload = \"biling\"\nis = 3",
            "there is no workload `biling`: did you mean `billing`?",
        ),
        (
            "that = \"poll-wait\"\npercentile = 101\nis = \"1s\"",
            "`percentile`: 101 is not within 1 to 100",
        ),
    ] {
        let said = load(&expect(fields)).unwrap_err();
        assert!(said.contains(expected), "{said}");
    }
}

#[test]
fn members_have_a_group_and_no_assignment_of_their_own() {
    GOOD.refused(
        "group = \"billing\"\ncommit",
        "commit",
        "`commit` is of members, and there is no `group`",
    );
    GOOD.refused("commit = \"each-record\"", "assign = \"*\"", "either `assign` or `group`");
    GOOD.refused(
        "commit = \"each-record\"",
        "commit = \"after-procesing\"",
        "did you mean `after-processing`?",
    );
    GOOD.refused("commit = \"each-record\"", "topics = [\"other\"]", "there is no topic `other`");
    GOOD.refused("group = \"billing\"\ncommit", "group = \"a/b\"\ncommit", "holds none of");
    for (property, word) in [
        ("group.id", "group"),
        ("group.instance.id", "static-members"),
        ("enable.auto.commit", "commit"),
        ("auto.offset.reset", "from"),
    ] {
        let said = format!("`{property}` of members is said by `{word}`");
        GOOD.refused("\"max.poll.records\" = 10", &format!("\"{property}\" = \"latest\""), &said);
    }
}

#[test]
fn groups_and_partitions_that_nobody_has_are_refused() {
    GOOD.refused(
        "coordinator(group:billing)",
        "coordinator(group:biling)",
        "did you mean `billing`?",
    );
    GOOD.refused("group = \"billing\"\npart", "group = \"x\"\npart", "no consumer group `x`");
    GOOD.refused("\"orders-3\"", "\"orders-4\"", "`orders` has 4, from 0");
    GOOD.refused("partitions = 4", "partitions = 2", "it can only have more");
}

/// The good file with another step in place of the third, and an expectation that needs no fourth partition.
fn with_step(fields: &str) -> String {
    let old = "do = \"add-partitions\"\ntopic = \"orders\"\npartitions = 4";
    GOOD.0.replacen(old, fields, 1).replace("orders-3", "orders-1")
}

#[test]
fn a_reset_says_one_place_to_go_on() {
    let step = |fields: &str| with_step(&format!("do = \"reset-offsets\"\n{fields}"));
    let way = |fields: &str| {
        let scenario = load(&step(fields)).unwrap_or_else(|said| panic!("{said}"));
        let plan = scenario.plan(None, 1);
        let Action::ResetOffsets { group, way } = &plan.timeline[2].action else {
            panic!("it resets")
        };
        assert_eq!(group, "billing");
        way.clone()
    };
    let none = ResetWay::default;
    let group = |rest: &str| format!("group = \"billing\"\n{rest}");
    for (word, to) in [
        ("earliest", ResetTo::Earliest),
        ("latest", ResetTo::Latest),
        ("current", ResetTo::Current),
    ] {
        let said = way(&group(&format!("to = \"{word}\"")));
        assert_eq!(said, ResetWay { to: Some(to), ..none() });
    }
    assert_eq!(way(&group("to-offset = 7")), ResetWay { to_offset: Some(7), ..none() });
    assert_eq!(way(&group("shift-by = -50")), ResetWay { shift_by: Some(-50), ..none() });
    let ago = ResetWay { by_duration: Some(Span::from_secs(10)), ..none() };
    assert_eq!(way(&group("by-duration = \"10s\"")), ago);

    let since = ResetWay { to_datetime: Some(Span::from_secs(7)), ..none() };
    assert_eq!(way(&group("to-datetime = \"7s\"")), since);
    let places = [("orders-0", 5), ("orders-1", 0)]
        .map(|(name, offset)| (PartitionName::parse(name).unwrap(), offset));
    let file = ResetWay { from_file: Some(places.into()), ..none() };
    assert_eq!(way(&group("from-file = { orders-0 = 5, orders-1 = 0 }")), file);

    let refused = |fields: &str, expected: &str| {
        let said = load(&step(fields)).unwrap_err();
        assert!(said.contains(expected), "{said}");
    };
    let one = "reset-offsets: needs one of `to`, `to-offset`, `shift-by`, `by-duration`, `to-datetime` and `from-file`";
    refused("group = \"billing\"", one);
    refused(&group("to = \"latest\"\nshift-by = 1"), one);
    refused(
        "group = \"biling\"\nto = \"latest\"",
        "there is no consumer group `biling`: did you mean `billing`?",
    );
    refused("to = \"latest\"", "`reset-offsets`: `group` is missing");
    refused(
        &group("to = \"newest\""),
        "`newest` is not a place to go on: known are earliest, latest, current",
    );
    refused(&group("to-offset = -1"), "`to-offset`");
    refused(
        &group("shift-by = \"back\""),
        "`shift-by`: expected a whole number within a million, found the text \"back\"",
    );
    refused(&group("by-duration = 10"), "`by-duration`: the duration `10` has no unit");
    refused(&group("to-datetime = \"7s\"\nto = \"latest\""), one);
    refused(&group("from-file = { orders-9 = 5 }"), "`orders` has 2, from 0");
    refused(&group("from-file = { parcels-0 = 5 }"), "the group `billing` does not read `parcels`");
    refused(&group("from-file = { orders-0 = -1 }"), "`orders-0`: expected a whole number");
}

#[test]
fn who_processes_beside_polling_commits_what_is_done_or_by_itself() {
    let with = |fields: &str| load(&GOOD.0.replacen("commit = \"each-record\"", fields, 1));
    for style in ["auto", "after-processing"] {
        let fields = format!("commit = \"{style}\"\npause-at = 100");
        let scenario = with(&fields).unwrap_or_else(|said| panic!("{said}"));
        let plan = scenario.plan(None, 1);
        let WorkloadKind::Consumer { pause_at, .. } = &plan.workloads["billing"].kind else {
            panic!("it is a consumer")
        };
        assert_eq!(*pause_at, Some(100));
    }
    let said = with("commit = \"async\"\npause-at = 100").unwrap_err();
    let expected = "who processes beside polling commits `auto` or `after-processing`";
    assert!(said.contains(expected), "{said}");
    let said = with("commit = \"auto\"\npause-at = 0").unwrap_err();
    assert!(said.contains("`pause-at`"), "{said}");
    GOOD.refused(
        "group = \"billing\"\ncommit = \"each-record\"",
        "pause-at = 3",
        "`pause-at` is of members, and there is no `group`",
    );
}

#[test]
fn groups_may_keep_their_place_beside_their_results() {
    for (word, style) in [
        ("with-results", CommitStyle::WithResults),
        ("with-results-fenced", CommitStyle::WithResultsFenced),
    ] {
        let text = GOOD.0.replacen("each-record", word, 1);
        let plan = load(&text).unwrap_or_else(|said| panic!("{said}")).plan(None, 1);
        let WorkloadKind::Consumer { commit, .. } = &plan.workloads["billing"].kind else {
            panic!("it is a consumer")
        };
        assert_eq!((*commit, style.is_with_results()), (Some(style), true));
    }
    GOOD.refused("each-record", "with-result", "did you mean `with-results`?");
    assert!(!CommitStyle::Never.is_with_results());
}

#[test]
fn shares_are_expected_of_groups_that_are_there() {
    let old = "that = \"unprocessed-acked\"\ngroup = \"billing\"\npartition = \"orders-3\"\nis = 0";
    let with = |fields: &str| load(&GOOD.0.replacen(old, fields, 1));
    for good in [
        "that = \"imbalance\"\ngroup = \"billing\"\nat = \"9s\"\ncompare = true\nis = 1",
        "that = \"partitions-moved\"\ngroup = \"billing\"\nbetween = [\"5s\", \"9s\"]\nis = 1",
        "that = \"in-hand\"\nis = \"<= 10\"",
    ] {
        assert!(with(good).is_ok(), "{good}: {:?}", with(good).err());
    }
    let said = |fields: &str| with(fields).unwrap_err();
    let nobody = said("that = \"imbalance\"\ngroup = \"biling\"\nis = 1");
    assert!(nobody.contains("did you mean `billing`?"), "{nobody}");
    let nobody = said("that = \"partitions-moved\"\nis = 1");
    assert!(nobody.contains("`partitions-moved`: `group` is missing"), "{nobody}");
    let timed = said("that = \"in-hand\"\nis = \"2s\"");
    assert!(timed.contains("`2s` is not a number: this measures how many"), "{timed}");
    let word = said("that = \"in-hand\"\ncompare = \"yes\"\nis = 1");
    assert!(word.contains("`compare`"), "{word}");
}
