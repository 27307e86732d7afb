//! Consumer groups in files: what is read, and what is said of those that make no sense.

use super::good_file::GoodFile;
use super::plan::{CommitStyle, WorkloadKind};

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
    let WorkloadKind::Consumer { commit, static_members, .. } = &plan.workloads["billing"].kind
    else {
        panic!("it is a consumer")
    };
    assert_eq!((*commit, *static_members), (Some(CommitStyle::EachRecord), false));
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
