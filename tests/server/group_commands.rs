//! `ottla group` and `ottla consume -g` against a node: what they print, what they change, what they refuse and with which exit code.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::groups::GROUPS;
use crate::support::Server;

const OTTLA: &str = env!("CARGO_BIN_EXE_ottla");
/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A node with the topic `orders`: ten records in partition 0, four in partition 1.
struct Place {
    server: Server,
    dir: tempfile::TempDir,
}

/// What a command did.
#[derive(Debug)]
struct Done {
    code: i32,
    out: String,
    err: String,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let place = Self { server: Server::start(&dir.path().join("data"), GROUPS), dir };
        place.ok(&["topic", "create", "orders", "-p", "2"]);
        for (partition, count) in [("0", 10), ("1", 4)] {
            let lines: String = (0..count).map(|n| format!("{partition}/{n}\n")).collect();
            let path = place.file("lines", &lines);
            place.ok(&["produce", "orders", "-p", partition, "-f", &path]);
        }
        place
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path = self.dir.path().join(name);
        std::fs::File::create(&path).unwrap().write_all(text.as_bytes()).unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(OTTLA);
        command.args(words).args(["-b", &self.server.address.to_string()]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn run(&self, words: &[&str]) -> Done {
        let output = self.command(words).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        let code = output.status.code().unwrap();
        Done { code, out: text(output.stdout), err: text(output.stderr) }
    }

    /// What it prints when it succeeds.
    #[track_caller]
    fn ok(&self, words: &[&str]) -> String {
        let done = self.run(words);
        assert_eq!(done.code, 0, "{words:?}: {done:?}");
        done.out
    }

    /// It fails with this exit code and says all of this; nothing goes to standard output.
    #[track_caller]
    fn refuses(&self, words: &[&str], code: i32, says: &[&str]) {
        let done = self.run(words);
        assert_eq!(done.code, code, "{words:?}: {done:?}");
        assert_eq!(done.out, "", "{words:?}");
        for part in says {
            assert!(done.err.contains(part), "{words:?} does not say {part:?}:\n{}", done.err);
        }
    }

    /// Partition, current offset, end and lag of each row of the description.
    #[track_caller]
    fn described(&self, group: &str) -> Vec<[String; 4]> {
        let text = self.ok(&["group", "describe", group]);
        let mut lines = text.lines();
        let Some(header) = lines.next() else { return Vec::new() };
        let columns: Vec<&str> = header.split_whitespace().collect();
        let expected = [
            "GROUP",
            "TOPIC",
            "PARTITION",
            "CURRENT-OFFSET",
            "LOG-END-OFFSET",
            "LAG",
            "CONSUMER-ID",
            "HOST",
            "CLIENT-ID",
        ];
        assert_eq!(columns, expected);
        let row = |line: &str| {
            let cells: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
            assert_eq!(cells.len(), expected.len(), "{line}");
            assert_eq!((cells[0].as_str(), cells[1].as_str()), (group, "orders"));
            [2, 3, 4, 5].map(|index| cells[index].clone())
        };
        lines.map(row).collect()
    }

    /// One field of `describe --state` for machines.
    fn state(&self, group: &str, field: &str) -> serde_json::Value {
        let text = self.ok(&["group", "describe", group, "--state", "--format", "json"]);
        serde_json::from_str::<serde_json::Value>(&text).unwrap()[field].take()
    }

    /// A member in a process of its own, that reads what comes.
    fn member(&self, words: &[&str]) -> Member {
        let words = [&["consume", "orders", "-o", "start", "-g"], words].concat();
        let mut child = self.command(&words).spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        Member { child, out }
    }

    fn wait_for(&self, what: &str, is_so: impl Fn() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is_so() {
            assert!(Instant::now() < deadline, "never {what}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// A process that ends with the test.
struct Member {
    child: Child,
    out: BufReader<ChildStdout>,
}

impl Member {
    /// The next lines it prints.
    fn lines(&mut self, count: usize) -> Vec<String> {
        self.out.by_ref().lines().take(count).map(Result::unwrap).collect()
    }

    /// As Ctrl-C does. Its exit code.
    fn interrupt(mut self) -> i32 {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, Signal::INT).unwrap();
        self.child.wait().unwrap().code().unwrap()
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn rows(all: &[[&str; 4]]) -> Vec<[String; 4]> {
    all.iter().map(|row| row.map(str::to_owned)).collect()
}

#[test]
fn a_group_goes_on_where_it_is_and_commits_no_more_than_was_printed() {
    let place = Place::new();
    let read = place.ok(&["consume", "orders", "-g", "billing", "-o", "start", "-n", "6"]);
    assert_eq!(read.lines().count(), 6, "{read}");
    let done = place.run(&["consume", "orders", "-g", "billing", "-e", "--format", "json"]);
    assert_eq!(done.code, 0, "{done:?}");
    assert_eq!(done.out.lines().count(), 8, "{done:?}");
    assert!(done.err.contains("Processed a total of 8 messages"), "{done:?}");
    let ends = [["0", "10", "10", "0"], ["1", "4", "4", "0"]];
    assert_eq!(place.described("billing"), rows(&ends));
    // Named by a property it is the same group.
    let named = ["-X", "group.id=billing", "-X", "max.poll.records=2"];
    assert_eq!(place.ok(&[&["consume", "orders", "-e", "-q"], &named[..]].concat()), "");

    assert_eq!(place.ok(&["group", "list"]), "billing\n");
    let list = place.ok(&["group", "list", "--state", "--type"]);
    let words: Vec<&str> = list.split_whitespace().collect();
    assert_eq!(words, ["GROUP", "TYPE", "STATE", "billing", "Classic", "Empty"]);
    assert_eq!(place.ok(&["group", "list", "--state", "stable"]).lines().count(), 1);
    let list = place.ok(&["group", "list", "--type", "classic", "--format", "json"]);
    let list: serde_json::Value = serde_json::from_str(&list).unwrap();
    let billing = serde_json::json!({
        "group": "billing", "protocol_type": "consumer", "state": "Empty", "type": "Classic"
    });
    assert_eq!(list, serde_json::json!({ "groups": [billing], "schema": "group.list/1" }));
    let done = place.run(&["group", "describe", "billing"]);
    assert!(done.err.contains("Consumer group 'billing' has no active members."), "{done:?}");
    assert_eq!(place.ok(&["group", "members", "billing"]), "");
    assert_eq!(place.state("billing", "coordinator")["id"], 1);
    // Alone it takes a consumer's properties too.
    let alone = ["consume", "orders", "-o", "start", "-n", "3", "-X", "max.poll.records=2"];
    assert_eq!(place.ok(&alone).lines().count(), 3);
}

#[test]
fn a_reset_changes_nothing_before_it_is_told_to() {
    let place = Place::new();
    place.ok(&["consume", "orders", "-g", "g", "-o", "start", "-e"]);
    let reset = |words: &[&str]| place.run(&[&["group", "reset", "g"], words].concat());
    let offsets =
        || place.described("g").into_iter().map(|[_, current, _, _]| current).collect::<Vec<_>>();
    let shown = |done: &Done| {
        assert_eq!(done.code, 0, "{done:?}");
        let mut lines = done.out.lines();
        let header: Vec<&str> = lines.next().unwrap().split_whitespace().collect();
        assert_eq!(header, ["GROUP", "TOPIC", "PARTITION", "NEW-OFFSET"]);
        let last = |line: &str| line.split_whitespace().last().unwrap().to_owned();
        lines.map(last).collect::<Vec<_>>()
    };

    let dry = reset(&["--to-earliest", "--all-topics"]);
    assert_eq!(shown(&dry), ["0", "0"]);
    assert!(dry.err.contains("Nothing was changed"), "{dry:?}");
    assert_eq!(offsets(), ["10", "4"]);

    for (words, expected) in [
        (&["--to-earliest", "--all-topics"][..], ["0", "0"]),
        (&["--to-latest", "--topic", "orders:1"], ["0", "4"]),
        (&["--to-offset", "3", "--topic", "orders"], ["3", "3"]),
        (&["--shift-by", "-2", "--topic", "orders:0"], ["1", "3"]),
        (&["--to-current", "--all-topics"], ["1", "3"]),
        (&["--by-duration", "PT0S", "--topic", "orders:0,1"], ["10", "4"]),
        (&["--to-datetime", "2000-01-01T00:00:00.000", "--all-topics"], ["0", "0"]),
        (&["--by-duration", "P1D", "--all-topics"], ["0", "0"]),
    ] {
        let done = reset(&[words, &["--execute"]].concat());
        assert_eq!(done.code, 0, "{words:?}: {done:?}");
        assert_eq!(offsets(), expected, "{words:?}");
    }
    let done = reset(&["--to-offset", "7", "--topic", "orders", "--execute"]);
    let warning = "Warning: 7 is behind the end of orders-1: it is set to 4.";
    assert!(done.err.contains(warning), "{done:?}");
    assert_eq!(offsets(), ["7", "4"]);

    let exported = reset(&["--to-current", "--all-topics", "--export"]);
    assert_eq!(exported.out, "orders,0,7\norders,1,4\n");
    let path = place.file("offsets.csv", &exported.out.replace("orders,0,7", "orders,0,5"));
    let value =
        place.ok(&["group", "reset", "g", "--from-file", &path, "--execute", "--format", "json"]);
    let value: serde_json::Value = serde_json::from_str(&value).unwrap();
    assert_eq!((&value["schema"], &value["executed"]), (&"group.reset/1".into(), &true.into()));
    assert_eq!(value["partitions"][0]["current_offset"], 7);
    assert_eq!(value["partitions"][0]["new_offset"], 5);
    assert_eq!(offsets(), ["5", "4"]);
    // A member goes on there.
    assert_eq!(place.ok(&["consume", "orders", "-g", "g", "-e"]).lines().count(), 5);
    // A group that is not there begins with it.
    place.ok(&["group", "reset", "new", "--to-latest", "--topic", "orders:1", "--execute"]);
    assert_eq!(place.described("new"), rows(&[["1", "4", "4", "0"]]));
}

#[test]
fn groups_and_offsets_are_deleted() {
    let place = Place::new();
    for group in ["a", "b", "c"] {
        let words = ["group", "reset", group, "--to-earliest", "-t", "orders", "--execute"];
        place.ok(&words);
    }
    let text = place.ok(&["group", "delete-offsets", "a", "-t", "orders:1"]);
    let words: Vec<&str> = text.split_whitespace().collect();
    assert_eq!(words, ["TOPIC", "PARTITION", "STATUS", "orders", "1", "Successful"]);
    assert_eq!(place.described("a"), rows(&[["0", "0", "10", "10"]]));

    let done = place.run(&["group", "delete", "a", "nobody", "b"]);
    assert_eq!(done.code, 4, "{done:?}");
    assert_eq!(done.out, "Deletion of requested consumer groups ('a', 'b') was successful.\n");
    assert!(done.err.contains("cannot delete group nobody"), "{done:?}");
    assert!(done.err.contains("GROUP_ID_NOT_FOUND: the group 'nobody' does not exist"), "{done:?}");
    assert_eq!(place.ok(&["group", "list"]), "c\n");
    place.ok(&["group", "delete", "--all-groups", "-q"]);
    assert_eq!(place.ok(&["group", "list"]), "");
}

#[test]
fn a_group_with_members_is_described_by_member_and_left_alone() {
    let place = Place::new();
    let mut first = place.member(&["busy", "-X", "client.id=one"]);
    assert_eq!(first.lines(14).len(), 14);
    place.wait_for("stable", || place.state("busy", "state") == "Stable");
    let all = ["orders:0,1"];
    let members = place.ok(&["group", "members", "busy", "--verbose"]);
    let lines: Vec<Vec<&str>> =
        members.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0][..5], ["GROUP", "CONSUMER-ID", "HOST", "CLIENT-ID", "#PARTITIONS"]);
    assert_eq!(
        lines[0][5..],
        ["CURRENT-EPOCH", "CURRENT-ASSIGNMENT", "TARGET-EPOCH", "TARGET-ASSIGNMENT"]
    );
    assert!(lines[1][1].starts_with("one-"), "{members}");
    assert_eq!(lines[1][2..6], ["/127.0.0.1", "one", "2", "-"]);
    assert_eq!(lines[1][6..7], all);
    let described = place.ok(&["group", "describe", "-g", "busy", "--format", "json"]);
    let described: serde_json::Value = serde_json::from_str(&described).unwrap();
    assert_eq!(described["partitions"][1]["client_id"], "one");
    assert_eq!(described["partitions"][1]["log_end_offset"], 4);

    let next = "`ottla group members busy` names them";
    let inactive = "Assignments can only be reset if the group 'busy' is inactive, but the current state is Stable.";
    let words = ["group", "reset", "busy", "--to-earliest", "-t", "orders", "--execute"];
    place.refuses(&words, 4, &["cannot reset group busy", inactive, next]);
    place.refuses(
        &["group", "delete", "busy"],
        4,
        &["NON_EMPTY_GROUP: the group has members", next],
    );
    let done = place.run(&["group", "delete-offsets", "busy", "-t", "orders"]);
    assert_eq!(done.code, 4, "{done:?}");
    assert!(done.out.contains("Error: GROUP_SUBSCRIBED_TO_TOPIC"), "{done:?}");
    assert!(done.err.contains("2 of 2 offsets of group busy were not deleted"), "{done:?}");
    // Nothing is done by halves: the group that could be reset is not either.
    place.ok(&["group", "reset", "idle", "--to-latest", "-t", "orders", "--execute"]);
    let words = ["group", "reset", "idle", "busy", "--to-earliest", "-t", "orders", "--execute"];
    place.refuses(&words, 4, &[inactive]);
    assert_eq!(place.described("idle"), rows(&[["0", "10", "10", "0"], ["1", "4", "4", "0"]]));

    // A second member takes its share, and who leaves gives back all at once: no session has to end.
    let second = place.member(&["busy", "-X", "client.id=two"]);
    let sizes = || {
        let text = place.ok(&["group", "members", "busy", "-q"]);
        text.lines()
            .skip(1)
            .map(|line| line.split_whitespace().last().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    place.wait_for("shared", || sizes() == ["1", "1"]);
    assert_eq!(second.interrupt(), 130);
    place.wait_for("given back", || sizes() == ["2"]);
    assert_eq!(first.interrupt(), 130);
    assert_eq!(place.state("busy", "state"), "Empty");
    assert_eq!(place.described("busy"), rows(&[["0", "10", "10", "0"], ["1", "4", "4", "0"]]));
}

#[test]
fn what_makes_no_sense_is_refused_before_anything_is_done() {
    let place = Place::new();
    place.ok(&["group", "reset", "g", "--to-earliest", "-t", "orders", "--execute"]);
    let unknown = "GROUP_ID_NOT_FOUND: the group 'nobody' does not exist";
    let list = "`ottla group list` names those that there are";
    for command in ["describe", "members", "delete"] {
        place.refuses(&["group", command, "nobody"], 4, &["nobody", unknown, list]);
    }
    place.refuses(&["group", "delete-offsets", "nobody", "-t", "orders"], 4, &[unknown, list]);
    let words = ["group", "reset", "nobody", "--to-earliest", "--all-topics"];
    place.refuses(&words, 4, &["cannot reset group nobody", "name the topics with --topic"]);

    let bad = place.file("bad.csv", "orders,0,1\norders,one,1\n");
    let other = place.file("other.csv", "h,orders,0,1\n");
    let resets: &[(&[&str], i32, &[&str])] = &[
        (&["--to-earliest"], 2, &["it is not said which topics", "--all-topics"]),
        (&["--all-topics"], 2, &["--to-earliest"]),
        (&["--to-earliest", "--to-latest", "--all-topics"], 2, &["cannot be used with"]),
        (&["--to-earliest", "-t", "nowhere"], 4, &["UNKNOWN_TOPIC_OR_PARTITION", "nowhere"]),
        (&["--to-earliest", "-t", "orders:0,9"], 2, &["topic orders has no partition 9", "0 to 1"]),
        (&["--to-earliest", "-t", "orders:x"], 2, &["`orders:x` names no partitions"]),
        (&["--by-duration", "soon", "--all-topics"], 2, &["`soon` is no duration", "PT1H30M"]),
        (&["--to-datetime", "soon", "--all-topics"], 2, &["`soon` is no time"]),
        (&["--from-file", &bad], 2, &["line 2 of the offsets", "`one` is no partition", "bad.csv"]),
        (&["--from-file", &other], 2, &["no offsets for group g", "the file speaks of h"]),
        (&["--from-file", "/nowhere.csv"], 2, &["cannot read the offsets", "/nowhere.csv"]),
        (&["--from-file", &other, "--all-topics"], 2, &["cannot be used with"]),
        (&["--to-latest", "--all-topics", "--dry-run"], 2, &["cannot be used with"]),
    ];
    for (words, code, says) in resets {
        place.refuses(&[&["group", "reset", "g", "--execute"], *words].concat(), *code, says);
    }
    assert_eq!(place.described("g"), rows(&[["0", "0", "10", "10"], ["1", "0", "4", "4"]]));

    place.refuses(&["group", "list", "--state", "asleep"], 2, &["`asleep` is no state", "Stable"]);
    place.refuses(&["group", "list", "--type", "kite"], 2, &["`kite` is no type", "consumer"]);
    place.refuses(&["group", "describe"], 2, &["required"]);
    let consume = |more: &[&'static str]| [&["consume", "orders", "-g", "g"], more].concat();
    place.refuses(&consume(&["-p", "0"]), 2, &["cannot be used with"]);
    place.refuses(&consume(&["-o", "42"]), 2, &["-o 42", "`ottla group reset g`"]);
    place.refuses(&["consume", "nowhere", "-g", "g"], 4, &["UNKNOWN_TOPIC_OR_PARTITION"]);
}

#[test]
fn where_nobody_can_coordinate_it_is_said_why() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&dir.path().join("data"), &[]);
    let place = Place { server, dir };
    place.ok(&["topic", "create", "orders", "-p", "1"]);
    let says = ["COORDINATOR_NOT_AVAILABLE", "offsets.topic.replication.factor=1"];
    place.refuses(&["group", "describe", "g", "--timeout", "1"], 5, &says);
    place.refuses(&["consume", "orders", "-g", "g", "--timeout", "1"], 5, &says);
}
