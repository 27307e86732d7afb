//! The shortest slice of a run that holds cause and effect: one column a node, time running down.

use crate::event::Who;
use crate::report::story::Line;
use crate::verdict::{Violation, show_time};

/// How many lines a slice has at most. A person takes in one screen.
const LINES_MAX: usize = 24;

/// How wide a lane is, in characters; what is longer is cut.
const LANE_WIDTH: usize = 34;

/// The lines before `violation` that may have caused it, and those around it, as text.
#[must_use]
pub fn slice(story: &[Line], violation: &Violation) -> Vec<String> {
    let matters = |line: &&Line| {
        let is_its_own = violation.partition.is_none() || line.partition.is_none();
        line.at <= violation.at && (is_its_own || line.partition == violation.partition)
    };
    let mut lines: Vec<&Line> = story.iter().filter(matters).collect();
    // The last fault is the likeliest cause: keep everything from it on, as far as there is room.
    let from = lines.len().saturating_sub(LINES_MAX);
    let last_fault = lines.iter().rposition(|line| line.kind == "fault.started");
    let mut cut = lines.split_off(from.min(lines.len()));
    if let Some(index) = last_fault.filter(|index| *index < from) {
        cut.insert(0, lines[index]);
    }
    draw(&cut)
}

fn draw(lines: &[&Line]) -> Vec<String> {
    let mut lanes: Vec<&Who> = lines.iter().map(|line| &line.who).collect();
    lanes.sort();
    lanes.dedup();
    if lanes.is_empty() {
        return Vec::new();
    }
    let header: String = lanes.iter().map(|who| cell(&who.to_string())).collect();
    let mut out = vec![format!("{:>10}  {}", "", header.trim_end())];
    for line in lines {
        let words = format!("{} {}", line.kind, line.what);
        let row: String = lanes
            .iter()
            .map(|who| if **who == line.who { cell(&words) } else { cell("·") })
            .collect();
        out.push(format!("{:>10}  {}", show_time(line.at), row.trim_end()));
    }
    out
}

fn cell(text: &str) -> String {
    let length = text.chars().count();
    if length <= LANE_WIDTH {
        return format!("{text:<width$}  ", width = LANE_WIDTH);
    }
    let cut: String = text.chars().take(LANE_WIDTH - 1).collect();
    format!("{cut}…  ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Event;
    use crate::report::story::tell;
    use crate::scenario::duration::Span;

    #[test]
    fn each_node_has_a_lane_and_the_last_fault_is_kept() {
        let event = |seconds, who, kind| Event::new(Span::from_secs(seconds), who, kind);
        let writer = Who::Client { workload: "writer".into(), index: 0 };
        let mut events = vec![event(1, Who::Broker(1), "fault.started").note("kill of broker 1")];
        events.extend((2..40).map(|second| event(second, writer.clone(), "client.stopped")));
        events.push(event(50, Who::Broker(1), "node.started"));
        let violation = Violation {
            check: "lost-write",
            at: Span::from_secs(41),
            node: None,
            partition: None,
            what: "gone".into(),
            evidence: Vec::new(),
        };
        let slice = slice(&tell(&events), &violation);
        assert_eq!(slice.len(), 1 + 1 + LINES_MAX, "{slice:#?}");
        assert!(slice[0].contains("broker 1") && slice[0].contains("writer/0"));
        assert!(slice[1].contains("fault.started kill of broker 1"));
        assert!(
            !slice.iter().any(|line| line.contains("node.started")),
            "later than the violation"
        );
    }
}
