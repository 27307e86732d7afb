//! Offsets in CSV, as `kafka-consumer-groups --export` writes and `--from-file` reads them: topic, partition, offset for one group, and
//! the group before them for several.
//!
//! Kafka: `CsvUtils`, `ConsumerGroupCommand.parseResetPlan`.

use std::collections::BTreeMap;
use std::path::Path;

use ottla::types::{Offset, PartitionIndex, TopicPartition};

use crate::real_main::failure::{Exit, Failure};

/// Where each group is to go on.
pub(super) type Places = BTreeMap<String, BTreeMap<TopicPartition, i64>>;

/// Reads a file.
///
/// Errors: it cannot be read, or a line is none.
pub(super) fn read(path: &Path, groups: &[String]) -> Result<Places, Failure> {
    let place = path.display().to_string();
    let failed = |exit, what: &str| Failure::new(exit, what).place(place.clone());
    let text = std::fs::read_to_string(path)
        .map_err(|error| failed(Exit::Usage, "cannot read the offsets").why(error))?;
    parse(&text, groups).map_err(|(line, why)| {
        failed(Exit::Usage, &format!("line {line} of the offsets cannot be read"))
            .why(why)
            .next("each line is topic,partition,offset, or group,topic,partition,offset")
    })
}

/// Reads lines of three fields, where there is one group, or of four. Errors: the line's number, and why.
fn parse(text: &str, groups: &[String]) -> Result<Places, (u64, String)> {
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .trim(csv::Trim::All)
        .from_reader(text.as_bytes());
    let mut places = Places::new();
    for record in reader.records() {
        let record = record.map_err(|error| {
            (error.position().map_or(0, csv::Position::line), error.to_string())
        })?;
        let line = record.position().map_or(0, csv::Position::line);
        let fields: Vec<&str> = record.iter().collect();
        let (group, [topic, partition, offset]) = match (fields.as_slice(), groups) {
            ([topic, partition, offset], [only]) => (only.as_str(), [topic, partition, offset]),
            ([group, topic, partition, offset], _) => (*group, [topic, partition, offset]),
            (other, _) => {
                let why = format!("it has {} fields, for {} groups", other.len(), groups.len());
                return Err((line, why));
            }
        };
        let number = |text: &str, what: &str| {
            let number: Option<i64> = text.parse().ok().filter(|number| *number >= 0);
            number.ok_or_else(|| (line, format!("`{text}` is no {what}")))
        };
        let index = number(partition, "partition")?;
        let index = i32::try_from(index).ok().and_then(PartitionIndex::from_wire);
        let index = index.ok_or_else(|| (line, format!("`{partition}` is no partition")))?;
        let at = TopicPartition { topic: (*topic).into(), partition: index };
        let offset = number(offset, "offset")?;
        if places.entry(group.to_owned()).or_default().insert(at.clone(), offset).is_some() {
            return Err((line, format!("{at} of group {group} stands there twice")));
        }
    }
    Ok(places)
}

/// Writes lines of three fields for one group, of four for several.
pub(super) fn write(groups: &[(String, BTreeMap<TopicPartition, Offset>)]) -> String {
    let mut writer = csv::Writer::from_writer(Vec::new());
    for (group, offsets) in groups {
        for (at, offset) in offsets {
            let mut fields = vec![at.topic.to_string(), at.partition.to_string()];
            fields.push(offset.value().to_string());
            if groups.len() != 1 {
                fields.insert(0, group.clone());
            }
            writer.write_record(&fields).expect("a vector takes all that is written");
        }
    }
    let bytes = writer.into_inner().expect("a vector takes all that is written");
    String::from_utf8(bytes).expect("words and numbers were written")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(groups: &[&str]) -> Vec<String> {
        groups.iter().map(|group| (*group).to_owned()).collect()
    }

    fn offsets(all: &[(&str, i32, i64)]) -> BTreeMap<TopicPartition, Offset> {
        let one = |(topic, partition, offset): &(&str, i32, i64)| {
            let partition = PartitionIndex::new(*partition);
            (TopicPartition { topic: (*topic).into(), partition }, Offset::new(*offset))
        };
        all.iter().map(one).collect()
    }

    #[test]
    fn what_is_written_is_read_back() {
        let one = [("a".to_owned(), offsets(&[("orders", 0, 5), ("orders", 1, 7)]))];
        assert_eq!(write(&one), "orders,0,5\norders,1,7\n");
        let several = [one[0].clone(), ("b, c".to_owned(), offsets(&[("orders", 0, 2)]))];
        let text = write(&several);
        assert_eq!(text, "a,orders,0,5\na,orders,1,7\n\"b, c\",orders,0,2\n");
        for (text, groups, written) in
            [(write(&one), names(&["a"]), &one[..]), (text, names(&["a", "b, c"]), &several[..])]
        {
            let read = parse(&text, &groups).unwrap();
            let read: Vec<(String, BTreeMap<TopicPartition, Offset>)> = read
                .into_iter()
                .map(|(group, places)| {
                    (group, places.into_iter().map(|(at, n)| (at, Offset::new(n))).collect())
                })
                .collect();
            assert_eq!(read, written);
        }
        // Kafka's tools write the group's name for one too where they were asked for all.
        assert_eq!(parse("a,orders,0,5\r\n\n", &names(&["a"])).unwrap()["a"].len(), 1);
    }

    #[test]
    fn a_line_that_is_none_is_named() {
        let refused = |text: &str, groups: &[&str]| parse(text, &names(groups)).unwrap_err();
        assert_eq!(
            refused("orders,0,5\norders,x,7\n", &["a"]),
            (2, "`x` is no partition".to_owned())
        );
        assert_eq!(refused("orders,0,-5\n", &["a"]), (1, "`-5` is no offset".to_owned()));
        let why = "it has 3 fields, for 2 groups".to_owned();
        assert_eq!(refused("orders,0,5\n", &["a", "b"]), (1, why));
        let why = "orders-0 of group a stands there twice".to_owned();
        assert_eq!(refused("orders,0,5\norders,0,6\n", &["a"]), (2, why));
    }
}
