//! Mistakes in the table of messages are named with file and line.

#[path = "../../build/schema.rs"]
#[expect(dead_code, reason = "the generator uses all of it, this test the parser alone")]
mod schema;

use schema::{Type, parse};

#[track_caller]
fn check(text: &str, expected: &str) {
    assert_eq!(parse("a.schema", text).unwrap_err().to_string(), expected);
}

#[test]
fn mistakes_are_named_with_their_line() {
    let head = "request A 1 versions 0-3 flexible 2+ {\n";
    check("reqest A 1 versions 0 flexible 0+ {}", "a.schema:1: `reqest` is no kind of message");
    check("request A x versions 0 flexible 0+ {}", "a.schema:1: `x` is no API key");
    check(
        "request A 1 versions 3-0 flexible none {}",
        "a.schema:1: versions 3-0 are not among those around them",
    );
    check("request A 1 versions 0-3 {}", "a.schema:1: expected `versions A-B flexible C+ {`");
    check(&format!("{head}  a: int33\n}}"), "a.schema:2: `int33` is no type");
    check(&format!("{head}  a int32\n}}"), "a.schema:2: expected a colon after `a`");
    check(
        &format!("{head}# a comment\n\n  a: int32 2-4\n}}"),
        "a.schema:4: versions 2-4 are not among those around them",
    );
    check(&format!("{head}  a: int32\n  a: int8\n}}"), "a.schema:3: `a` stands here twice");
    check(
        &format!("{head}  a: int32 somehow\n}}"),
        "a.schema:2: `somehow` says nothing of a field",
    );
    check(&format!("{head}  a: int32 tag\n}}"), "a.schema:2: no number follows `tag`");
    check(&format!("{head}  a: int32 {{\n"), "a.schema:2: only a struct has fields");
    check(&format!("{head}  a: [B]\n}}"), "a.schema:2: `B` is no type");
    check(
        &format!("{head}  a: string?\n}}"),
        "a.schema:2: `string` has no negative values that could mean none",
    );
    check(&format!("{head}  a: int32\n"), "a.schema:2: `ARequest` is not closed");
    check(
        &format!("{head}  a: int32 1+ tag 0\n}}"),
        "a.schema:3: `a` is tagged in a version that has no tags",
    );
    check(
        &format!("{head}  a: int32 2+ tag 1\n}}"),
        "a.schema:3: the tags of `ARequest` do not count from 0",
    );
    check(&format!("{head}  a: int32 null\n}}"), "a.schema:3: `a` is a number: write `?`");
    check(
        &format!("{head}  a: string default x\n}}"),
        "a.schema:3: `a` can have no default but the empty one",
    );
}

#[test]
fn a_field_has_the_versions_of_its_struct_unless_it_says_otherwise() {
    let text = "data A versions 0-3 flexible 0+ {\n b: [B] 1+ {\n c: int8\n d: BrokerId? 2+ none -2\n }\n e: [B]\n}";
    let messages = parse("a.schema", text).unwrap();
    let [root, part] = &messages[0].structs[..] else { panic!("two structs") };
    assert_eq!((root.name.as_str(), part.name.as_str()), ("A", "B"));
    assert_eq!((part.fields[0].versions.min, part.fields[1].versions.min), (1, 2));
    assert_eq!(part.fields[1].none, -2);
    assert!(matches!(part.fields[1].ty, Type::Typed { rust: "BrokerId", optional: true, .. }));
    assert_eq!(root.fields[1].ty, root.fields[0].ty);
}
