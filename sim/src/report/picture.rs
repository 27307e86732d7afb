//! A partition's life as a small picture (SVG): who leads it in which epoch, how many are in sync, its log's end and its high
//! watermark, and the faults. For the pages of `reports/`: the same seeds give the same bytes, and it brings its own paper, so
//! that it reads on light pages and on dark ones.

use std::fmt::Write as _;

use ottla::types::{TopicIdPartition, TopicPartition};

use super::bands::{self, Band};
use super::thousands;
use crate::chronicle::{Replica, What};
use crate::event::Who;
use crate::scenario::duration::Span;
use crate::verdict::SeedRun;
use crate::views::PartitionView;

const WIDTH: u64 = 880;
/// Where time begins: left of it stand the names of the rows.
const LEFT: u64 = 104;
const RIGHT: u64 = WIDTH - 12;
const FAULT: u64 = 15;
const LEADER: u64 = 20;
const SYNC: u64 = 34;
const CHART: u64 = 84;

/// The brokers' colours, dark enough for white letters (4.5 to 1).
const COLOURS: [&str; 8] =
    ["#2563eb", "#b93a0a", "#15803d", "#7c3aed", "#8a5a00", "#0e7490", "#be185d", "#4d6b0f"];
const INK: &str = "#16191f";
const DIM: &str = "#5b6472";
const LINE: &str = "#d5d9e0";
const BAD: &str = "#c01c28";

/// The picture of the partition that changed hands most, the first of those; `None` where no partition was ever seen.
#[must_use]
pub fn life(seed: &SeedRun) -> Option<String> {
    let chronicle = &seed.stats.chronicle;
    let versions =
        |id: TopicIdPartition| chronicle.versions.get(&id).map_or(&[][..], Vec::as_slice);
    let mut best: Option<(TopicIdPartition, &TopicPartition)> = None;
    for (id, name) in chronicle.partitions() {
        if versions(id).len() > best.map_or(0, |(most, _)| versions(most).len()) {
            best = Some((id, name));
        }
    }
    let (id, name) = best?;
    let versions = versions(id);
    let end = bands::end_of(seed).nanos().max(1);
    let mut picture = Picture { out: String::new(), end, y: 28 };
    picture.text(8, 18, Style { weight: "bold", ..Style::PLAIN }, &name.to_string());
    let words =
        format!("seed {}, {} records acknowledged", seed.seed, thousands(seed.totals.acked));
    picture.text(RIGHT, 18, Style { anchor: "end", fill: DIM, ..Style::PLAIN }, &words);
    let top = picture.y;
    picture.faults(&bands::of(seed));
    picture.leaders(versions);
    picture.in_sync(versions);
    picture.curves(seed, id, versions);
    picture.moments(seed, top);
    Some(picture.finish(&name.to_string()))
}

/// How letters look.
#[derive(Clone, Copy)]
struct Style {
    fill: &'static str,
    weight: &'static str,
    anchor: &'static str,
}

impl Style {
    const PLAIN: Style = Style { fill: INK, weight: "normal", anchor: "start" };
    const SMALL: Style = Style { fill: DIM, ..Style::PLAIN };
}

struct Picture {
    out: String,
    /// The last moment, in nanoseconds.
    end: u64,
    /// Where the next row begins.
    y: u64,
}

fn colour(broker: i32) -> &'static str {
    let place = usize::try_from(broker - 1).unwrap_or_default();
    COLOURS[place % COLOURS.len()]
}

impl Picture {
    /// Where a moment stands, in tenths of a pixel.
    fn x10(&self, at: Span) -> u64 {
        let share = u128::from(at.nanos().min(self.end)) * u128::from((RIGHT - LEFT) * 10);
        LEFT * 10 + u64::try_from(share / u128::from(self.end)).unwrap_or_default()
    }

    fn text(&mut self, x: u64, y: u64, style: Style, words: &str) {
        let Style { fill, weight, anchor } = style;
        let words = words.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        let _ = writeln!(
            self.out,
            r#"<text x="{x}" y="{y}" fill="{fill}" font-weight="{weight}" text-anchor="{anchor}">{words}</text>"#
        );
    }

    /// A rectangle from one moment to another: a pixel wide at least.
    fn bar(&mut self, (from, until): (Span, Span), (y, height): (u64, u64), look: &str) {
        let (left, right) = (self.x10(from), self.x10(until));
        let width = right.saturating_sub(left).max(10);
        let (left, width) = (tenths(left), tenths(width));
        let _ = writeln!(
            self.out,
            r#"<rect x="{left}" y="{y}" width="{width}" height="{height}" {look}/>"#
        );
    }

    /// How many letters have room between two moments.
    fn room(&self, from: Span, until: Span) -> usize {
        let pixels = (self.x10(until).saturating_sub(self.x10(from)) / 10).saturating_sub(8);
        usize::try_from(pixels * 10 / 63).unwrap_or_default() // letters of 11 px are 6.3 px wide on the average
    }

    fn label(&mut self, y: u64, words: &str) {
        self.text(8, y, Style::SMALL, words);
    }

    fn faults(&mut self, bands: &[Band]) {
        let faults: Vec<&Band> = bands.iter().filter(|band| band.is_fault).collect();
        let Some(first) = faults.first() else { return };
        let end = Span::from_nanos(self.end);
        let mut rows: Vec<Vec<&Band>> = vec![vec![first]];
        for band in &faults[1..] {
            let is_free = |row: &&mut Vec<&Band>| {
                // A moment has a word, and that takes room too.
                let word = Span::from_nanos(self.end / 6);
                row.last().is_none_or(|last| {
                    last.until.unwrap_or(last.from).max(last.from.plus(word)) <= band.from
                })
            };
            let is_full = rows.len() == FAULT_ROWS_MAX;
            match rows.iter_mut().find(is_free) {
                Some(row) => row.push(band),
                None if is_full => rows[FAULT_ROWS_MAX - 1].push(band),
                None => rows.push(vec![band]),
            }
        }
        self.label(self.y + 11, "faults");
        for row in rows {
            for (index, band) in row.iter().enumerate() {
                let until = band.until.unwrap_or(band.from);
                self.bar(
                    (band.from, until),
                    (self.y + 1, FAULT - 3),
                    &format!(r#"fill="{BAD}" fill-opacity="0.25""#),
                );
                self.bar(
                    (band.from, band.from),
                    (self.y + 1, FAULT - 3),
                    &format!(r#"fill="{BAD}""#),
                );
                let next = row.get(index + 1).map_or(end, |next| next.from);
                let words = shorten(&words_of(band), self.room(band.from, next));
                let x = self.x10(band.from) / 10 + 4;
                self.text(x, self.y + 11, Style::PLAIN, &words);
            }
            self.y += FAULT;
        }
        self.y += 4;
    }

    fn leaders(&mut self, versions: &[(Span, PartitionView)]) {
        self.label(self.y + 14, "leader, epoch");
        let mut terms: Vec<(Span, &PartitionView)> = Vec::new();
        for (at, view) in versions {
            let is_same = |(_, last): &(Span, &PartitionView)| {
                (last.leader, last.leader_epoch) == (view.leader, view.leader_epoch)
            };
            if !terms.last().is_some_and(is_same) {
                terms.push((*at, view));
            }
        }
        for (index, (from, view)) in terms.iter().enumerate() {
            let until = terms.get(index + 1).map_or(Span::from_nanos(self.end), |(next, _)| *next);
            let epoch = view.leader_epoch.map_or_else(|| "?".to_owned(), |epoch| epoch.to_string());
            let (look, fill, words) = match view.leader {
                Some(leader) => (
                    format!(r##"fill="{}" stroke="#fff""##, colour(leader.value())),
                    "#ffffff",
                    [format!("broker {leader}, epoch {epoch}"), format!("{leader}, {epoch}")],
                ),
                None => (
                    format!(r##"fill="#fdecec" stroke="{BAD}""##),
                    BAD,
                    ["no leader".to_owned(), "–".to_owned()],
                ),
            };
            self.bar((*from, until), (self.y, LEADER), &look);
            let room = self.room(*from, until);
            if let Some(words) = words.iter().find(|words| words.chars().count() <= room) {
                let x = self.x10(*from) / 10 + 5;
                self.text(x, self.y + 14, Style { fill, weight: "bold", ..Style::PLAIN }, words);
            }
        }
        self.y += LEADER + 6;
    }

    /// How many are in sync: a step for each change, out of how many hold a copy.
    fn in_sync(&mut self, versions: &[(Span, PartitionView)]) {
        let most = versions.iter().map(|(_, view)| view.replicas.len().max(view.isr.len())).max();
        let most = most.unwrap_or(1).max(1) as u64;
        self.label(self.y + 12, "in sync");
        let top = self.y;
        for count in 0..=most {
            let y = top + SYNC - count * (SYNC - 6) / most;
            let _ = writeln!(self.out, r#"<path d="M{LEFT} {y}H{RIGHT}" stroke="{LINE}"/>"#);
            if count > 0 && most <= 4 {
                let style = Style { anchor: "end", ..Style::SMALL };
                self.text(LEFT - 5, y + 4, style, &count.to_string());
            }
        }
        let y_of = |count: usize| top + SYNC - (count as u64) * (SYNC - 6) / most;
        let mut path = String::new();
        for (index, (at, view)) in versions.iter().enumerate() {
            let (x, y) = (tenths(self.x10(*at)), y_of(view.isr.len()));
            let _ = if index == 0 { write!(path, "M{x} {y}") } else { write!(path, "H{x}V{y}") };
        }
        let _ = write!(path, "H{RIGHT}");
        let _ =
            writeln!(self.out, r#"<path d="{path}" fill="none" stroke="{INK}" stroke-width="2"/>"#);
        self.y += SYNC + 10;
    }

    /// The leader's log end, and its high watermark.
    fn curves(&mut self, seed: &SeedRun, id: TopicIdPartition, versions: &[(Span, PartitionView)]) {
        let leader_at = |at: Span| versions.iter().rev().find(|(since, _)| *since <= at)?.1.leader;
        let (mut ends, mut watermarks) = (Vec::new(), Vec::new());
        for change in &seed.stats.chronicle.changes {
            let What::Replica(of, replica) = change.what else { continue };
            let leads = matches!((&change.who, leader_at(change.at)), (Who::Broker(id), Some(leader)) if i32::try_from(*id) == Ok(leader.value()));
            match replica {
                Replica::End(end) if of == id && leads => ends.push((change.at, end.value())),
                Replica::HighWatermark(to) if of == id && leads => {
                    watermarks.push((change.at, to.value()));
                }
                Replica::End(_)
                | Replica::HighWatermark(_)
                | Replica::Leads(_)
                | Replica::Follows(..)
                | Replica::Deleted => {}
            }
        }
        let highest = ends.iter().chain(&watermarks).map(|(_, value)| *value).max();
        let highest = highest.unwrap_or_default().max(1).unsigned_abs();
        let (top, bottom) = (self.y, self.y + CHART);
        let _ = writeln!(
            self.out,
            r#"<path d="M{LEFT} {top}V{bottom}H{RIGHT}" fill="none" stroke="{LINE}"/>"#
        );
        self.label(top + 22, "log end");
        let _ = writeln!(
            self.out,
            r##"<path d="M58 {y}H84" stroke="#9aa3b2" stroke-width="3"/>"##,
            y = top + 18
        );
        self.label(top + 40, "high");
        self.label(top + 53, "watermark");
        let _ = writeln!(
            self.out,
            r#"<path d="M38 {y}H84" stroke="{INK}" stroke-width="1.5"/>"#,
            y = top + 36
        );
        let small = Style { anchor: "end", ..Style::SMALL };
        self.text(LEFT - 4, top + 8, small, &thousands(highest));
        self.text(LEFT - 4, bottom, small, "0");
        for (points, look) in [
            (ends, r##"stroke="#9aa3b2" stroke-width="3""##.to_owned()),
            (watermarks, format!(r#"stroke="{INK}" stroke-width="1.5""#)),
        ] {
            let path = self.steps(&points, (bottom, CHART), highest);
            let _ = writeln!(self.out, r#"<path d="{path}" fill="none" {look}/>"#);
        }
        self.y = bottom + 4;
        self.axis(bottom);
    }

    /// Steps from value to value; of one half pixel the last.
    fn steps(&self, points: &[(Span, i64)], (bottom, height): (u64, u64), highest: u64) -> String {
        let mut path = String::new();
        let mut columns: Vec<(u64, u64)> = Vec::new();
        for (at, value) in points {
            let x = self.x10(*at) / 5 * 5;
            let tall = u128::from(value.unsigned_abs()) * u128::from(height * 10 - 20);
            let y = bottom * 10 - u64::try_from(tall / u128::from(highest)).unwrap_or_default();
            match columns.last_mut() {
                Some(last) if last.0 == x => last.1 = y,
                Some(last) if last.1 == y => {}
                Some(_) | None => columns.push((x, y)),
            }
        }
        for (index, (x, y)) in columns.into_iter().enumerate() {
            let (x, y) = (tenths(x), tenths(y));
            let _ = if index == 0 { write!(path, "M{x} {y}") } else { write!(path, "H{x}V{y}") };
        }
        if !path.is_empty() {
            let _ = write!(path, "H{RIGHT}");
        }
        path
    }

    fn axis(&mut self, bottom: u64) {
        let seconds = (self.end / 1_000_000_000).max(1);
        let step = [1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1_800, 3_600, 7_200, 14_400, 43_200];
        let step = step.into_iter().find(|step| seconds / step <= 9).unwrap_or(86_400);
        for mark in 0..=seconds / step {
            let second = mark * step;
            let x = self.x10(Span::from_secs(second)) / 10;
            let _ = writeln!(self.out, r#"<path d="M{x} {bottom}v4" stroke="{DIM}"/>"#);
            // The last one is to stay on the paper.
            let anchor = if x + 24 > RIGHT { "end" } else { "start" };
            self.text(x, bottom + 16, Style { anchor, ..Style::SMALL }, &format!("{second} s"));
        }
        self.y = bottom + 22;
    }

    /// Where every fault ends, and what went wrong.
    fn moments(&mut self, seed: &SeedRun, top: u64) {
        let bottom = self.y - 22;
        let heal_at = seed.plan.heal_at();
        if seed.plan.has_faults() && heal_at < seed.plan.run_for {
            let x = tenths(self.x10(heal_at));
            let _ = writeln!(
                self.out,
                r##"<path d="M{x} {top}V{bottom}" stroke="#1a7f37" stroke-dasharray="4 3"/>"##
            );
        }
        if let Some(violation) = seed.violations.first() {
            let x = tenths(self.x10(violation.at));
            let _ = writeln!(
                self.out,
                r#"<path d="M{x} {top}V{bottom}" stroke="{BAD}" stroke-width="2"/>"#
            );
            let x = (self.x10(violation.at) / 10).saturating_sub(4);
            let style = Style { fill: BAD, weight: "bold", anchor: "end" };
            self.text(x, top + 10, style, &format!("✘ {}", violation.check));
        }
    }

    fn finish(self, name: &str) -> String {
        let height = self.y;
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" font-family=\"system-ui, sans-serif\" font-size=\"11\" role=\"img\" aria-label=\"The life of partition {name}\">\n<rect width=\"{WIDTH}\" height=\"{height}\" rx=\"6\" fill=\"#ffffff\" stroke=\"{LINE}\"/>\n{}</svg>\n",
            self.out
        )
    }
}

/// So many rows of faults; what overlaps more is drawn over.
const FAULT_ROWS_MAX: usize = 6;

fn tenths(number: u64) -> String {
    if number.is_multiple_of(10) {
        (number / 10).to_string()
    } else {
        format!("{}.{}", number / 10, number % 10)
    }
}

fn words_of(band: &Band) -> String {
    if band.details.starts_with("between") {
        return format!("{} {}", band.action, band.details);
    }
    let who: Vec<String> = band.who.iter().map(ToString::to_string).collect();
    format!("{} {}", band.action, who.join(", ")).trim_end().to_owned()
}

fn shorten(words: &str, room: usize) -> String {
    if words.chars().count() <= room {
        return words.to_owned();
    }
    let kept: String = words.chars().take(room.saturating_sub(1)).collect();
    if kept.chars().count() < 3 { String::new() } else { format!("{}…", kept.trim_end()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    #[test]
    fn the_picture_of_a_run_shows_its_terms_its_fault_and_what_went_wrong() {
        let picture = life(&sample::red()).unwrap();
        for words in
            ["orders-0", "kill broker 1", "broker 1, epoch 1", "broker 2, epoch 2", "✘ lost-write"]
        {
            assert!(picture.contains(words), "{words} in\n{picture}");
        }
        assert!(picture.starts_with("<svg ") && picture.trim_end().ends_with("</svg>"));
        assert_eq!(picture.matches("<text").count(), picture.matches("</text>").count());
        assert_eq!(life(&sample::red()).unwrap(), picture, "the same bytes again");
        assert!(picture.len() < 20_000, "{} bytes", picture.len());
    }

    #[test]
    fn a_run_whose_cluster_never_came_up_has_none() {
        let mut seed = sample::red();
        seed.stats.chronicle = Default::default();
        assert_eq!(life(&seed), None);
    }

    #[test]
    fn words_are_cut_to_their_room() {
        assert_eq!(shorten("kill broker 1", 13), "kill broker 1");
        assert_eq!(shorten("kill broker 1", 6), "kill…");
        assert_eq!(shorten("kill broker 1", 3), "");
    }
}
