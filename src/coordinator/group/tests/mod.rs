//! Tests of the whole ledger: stories, and what holds of every story.

mod consumers;
mod goldens;
mod migrations;
mod properties;

/// The numbers are Java's: `"abc".hashCode()` is 96,354, and so on; the last but one hashes to −2³¹.
#[test]
fn a_group_belongs_to_the_partition_that_its_id_hashes_to() {
    let check = |group: &str, partitions, expected| {
        assert_eq!(super::partition_of(group, partitions).value(), expected, "{group}");
    };
    check("", 50, 0);
    check("abc", 100_000, 96_354);
    check("abc", 50, 4);
    check("hello", 1_000_000_000, 99_162_322);
    check("polygenelubricants", 50, 0);
    check("\u{1f9a6}", i32::MAX, 0xd83e * 31 + 0xdda6);
}
