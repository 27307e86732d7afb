//! Which names a topic may have.
//!
//! Kafka: `Topic.validate`, `Topic.unifyCollisionChars`.

/// The longest name, in bytes: with `-<partition>` and a suffix it must fit a file name of 255.
const NAME_LENGTH_MAX: usize = 249;

/// The metadata log itself: no client may make it.
pub(super) const CLUSTER_METADATA_TOPIC: &str = "__cluster_metadata";

/// Errors: what is wrong with `name`.
pub(super) fn validate(name: &str) -> Result<(), String> {
    let legal = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '.' | '_' | '-');
    if name.is_empty() {
        return Err("a topic name cannot be empty".to_owned());
    }
    if name == "." || name == ".." {
        return Err(format!("a topic cannot be called '{name}'"));
    }
    if name.len() > NAME_LENGTH_MAX {
        let length = name.len();
        return Err(format!("the topic name has {length} bytes; at most {NAME_LENGTH_MAX} fit"));
    }
    if !name.chars().all(legal) {
        return Err(format!(
            "topic name '{}' has characters other than ASCII letters, digits, '.', '_' and '-'",
            name.escape_default()
        ));
    }
    Ok(())
}

/// The key under which names collide: metrics write `.` as `_`, so two names that differ only there are one to them.
pub(super) fn collision_key(name: &str) -> String {
    name.replace('.', "_")
}

/// Whether `name` can collide with another one at all.
pub(super) fn may_collide(name: &str) -> bool {
    name.contains(['.', '_'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_what_kafka_accepts() {
        for name in ["a", "A.b_c-9", "...", &"x".repeat(249)] {
            assert_eq!(validate(name), Ok(()), "{name}");
        }
        for name in ["", ".", "..", "a b", "ä", "a/b", "a\0", &"x".repeat(250)] {
            assert!(validate(name).is_err(), "{name}");
        }
        assert_eq!(collision_key("a.b"), collision_key("a_b"));
        assert!(!may_collide("a-b"));
    }
}
