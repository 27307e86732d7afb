//! The even assignment that moves least where members read different things (pure).
//!
//! Partitions of one topic are alike, but for who holds them: so it is counted how many each member has of each topic. What is looked
//! for is a flow of partitions from topics to readers. It costs what the sum of the squares of the loads says and, much less, 1 for
//! each partition that leaves who holds it. Both are convex, so a flow is the best one exactly where nothing can be passed on around
//! a circle for less than nothing: a reader takes one of a topic, of which another gives one, who takes one of another topic, …
//!
//! First it is levelled greedily, which is nearly always enough; then such circles are looked for (Bellman and Ford) until there are
//! none. For groups too large to be sure within [`WORK_MAX`] steps it may remain with what the first part found: still every partition
//! is given once, and no single one would better be somewhere else.

use super::{Place, Roster};

/// How many links are looked at in search of circles at most.
const WORK_MAX: usize = 20_000_000;

/// A reader and a topic that it reads.
#[derive(Clone, Copy, Debug)]
struct Cell {
    member: usize,
    topic: usize,
    /// How many partitions the reader held.
    held: usize,
    /// How many it is to have.
    has: usize,
}

/// What each member is to have, given what each holds: no partition is held by two, none by somebody who does not read it.
pub(super) fn level(roster: &Roster<'_>, held: &[Vec<Place>]) -> Vec<Vec<Place>> {
    let mut draft = Draft::new(roster, held);
    draft.place_free(roster);
    while draft.level_topics() {}
    draft.end_circles(roster.members.len());
    draft.places(roster, held)
}

struct Draft {
    /// In the order of topics, then of members.
    cells: Vec<Cell>,
    /// Where each topic's cells are.
    of_topic: Vec<std::ops::Range<usize>>,
    /// How much each member has.
    loads: Vec<usize>,
}

impl Draft {
    /// Each has what it held.
    fn new(roster: &Roster<'_>, held: &[Vec<Place>]) -> Self {
        let mut cells = Vec::new();
        let mut of_topic = Vec::new();
        for (topic, readers) in roster.readers.iter().enumerate() {
            let start = cells.len();
            cells.extend(readers.iter().map(|&member| Cell { member, topic, held: 0, has: 0 }));
            of_topic.push(start..cells.len());
        }
        for (member, places) in held.iter().enumerate() {
            for (topic, _) in places {
                let at = roster.readers[*topic].binary_search(&member);
                let at = at.expect("nobody holds what it does not read");
                let cell = &mut cells[of_topic[*topic].start + at];
                cell.held += 1;
                cell.has += 1;
            }
        }
        Self { cells, of_topic, loads: held.iter().map(Vec::len).collect() }
    }

    /// What is free goes to the reader that has least. What few read comes first: there is least choice.
    fn place_free(&mut self, roster: &Roster<'_>) {
        let mut order: Vec<usize> = (0..self.of_topic.len()).collect();
        order.sort_by_key(|topic| (self.of_topic[*topic].len(), *topic));
        for topic in order {
            let range = self.of_topic[topic].clone();
            let placed: usize = self.cells[range].iter().map(|cell| cell.has).sum();
            for _ in placed..roster.counts[topic] {
                let least = self.least(topic);
                self.add(least);
            }
        }
    }

    /// The topic's reader that has least.
    fn least(&self, topic: usize) -> usize {
        let readers = self.of_topic[topic].clone();
        readers.min_by_key(|cell| self.load(*cell)).expect("each topic has readers")
    }

    fn load(&self, cell: usize) -> usize {
        self.loads[self.cells[cell].member]
    }

    fn add(&mut self, cell: usize) {
        self.cells[cell].has += 1;
        self.loads[self.cells[cell].member] += 1;
    }

    fn take(&mut self, cell: usize) {
        self.cells[cell].has -= 1;
        self.loads[self.cells[cell].member] -= 1;
    }

    /// Levels each topic once. Returns whether anything was passed on.
    fn level_topics(&mut self) -> bool {
        let mut moved = false;
        for topic in 0..self.of_topic.len() {
            moved |= self.level_topic(topic);
        }
        moved
    }

    /// Passes partitions of the topic from who has most to who has least. Returns whether any was passed on.
    fn level_topic(&mut self, topic: usize) -> bool {
        let mut moved = false;
        loop {
            let holders = self.of_topic[topic].clone().filter(|cell| self.cells[*cell].has > 0);
            // Of those that have as much, rather one that gives what it never held.
            let giver = holders.max_by_key(|cell| {
                (self.load(*cell), self.cells[*cell].has > self.cells[*cell].held)
            });
            let taker = self.least(topic);
            let Some(giver) = giver.filter(|giver| self.load(*giver) > self.load(taker) + 1) else {
                return moved;
            };
            self.take(giver);
            self.add(taker);
            moved = true;
        }
    }

    /// Passes partitions on around circles that make it cheaper, while there are any.
    fn end_circles(&mut self, members: usize) {
        let mut search = Search::new(members, self.of_topic.len(), &self.loads);
        let mut work = 0;
        while work < WORK_MAX && search.relax(self) {
            work += 2 * (self.cells.len() + members);
            let circles = search.circles();
            if circles.is_empty() {
                continue;
            }
            crate::mark!("sticky assignor passes partitions on around a circle");
            for circle in circles {
                for link in circle {
                    self.pass(link);
                }
            }
            search.forget_links();
        }
    }

    fn pass(&mut self, link: Link) {
        match link {
            Link::Give(cell) => self.cells[cell].has -= 1,
            Link::Take(cell) => self.cells[cell].has += 1,
            Link::Less(member) => self.loads[member] -= 1,
            Link::More(member) => self.loads[member] += 1,
        }
    }

    /// Which partitions they are: of a topic each keeps the first of those that it held, and the rest is dealt out in turn.
    fn places(&self, roster: &Roster<'_>, held: &[Vec<Place>]) -> Vec<Vec<Place>> {
        let mut given: Vec<Vec<Place>> = vec![Vec::new(); held.len()];
        let mut is_kept: Vec<Vec<bool>> =
            roster.counts.iter().map(|count| vec![false; *count]).collect();
        let mut lacks: Vec<usize> = self.cells.iter().map(|cell| cell.has).collect();
        for (member, places) in held.iter().enumerate() {
            for &(topic, index) in places {
                let at = roster.readers[topic].binary_search(&member);
                let cell = self.of_topic[topic].start + at.expect("it reads what it holds");
                if lacks[cell] > 0 {
                    lacks[cell] -= 1;
                    is_kept[topic][index] = true;
                    given[member].push((topic, index));
                }
            }
        }
        for (topic, is_kept) in is_kept.iter().enumerate() {
            let free = is_kept.iter().enumerate().filter(|(_, is_kept)| !**is_kept);
            let mut turn = self.of_topic[topic].clone().cycle();
            for (index, _) in free {
                let cell = turn.find(|cell| lacks[*cell] > 0).expect("each topic has readers");
                lacks[cell] -= 1;
                given[self.cells[cell].member].push((topic, index));
            }
        }
        given
    }
}

/// A step of a circle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Link {
    /// The cell's reader gives one of the topic's partitions.
    Give(usize),
    /// The cell's reader takes one.
    Take(usize),
    /// The member ends with one less.
    Less(usize),
    /// It ends with one more.
    More(usize),
}

/// The search for circles. Its nodes are the members, the topics, and one where loads are weighed against each other.
struct Search {
    members: usize,
    /// One step of balance outweighs all partitions that could stay.
    step: usize,
    /// The least that it is known to cost to come there, from anywhere.
    distances: Vec<i64>,
    /// From where one comes there, and how.
    links: Vec<Option<(usize, Link)>>,
}

impl Search {
    fn new(members: usize, topics: usize, loads: &[usize]) -> Self {
        let step = loads.iter().sum::<usize>() + 1;
        let nodes = members + topics + 1;
        Self { members, step, distances: vec![0; nodes], links: vec![None; nodes] }
    }

    fn weigh(&self, load: usize) -> i64 {
        i64::try_from(load * self.step).expect("loads are counts of partitions")
    }

    /// Looks at every link once. Returns whether anything became cheaper.
    fn relax(&mut self, draft: &Draft) -> bool {
        let scale = self.distances.len() - 1;
        let mut changed = false;
        for (member, load) in draft.loads.iter().enumerate().filter(|(_, load)| **load > 0) {
            let cost = -self.weigh(2 * load - 1);
            changed |= self.come(scale, member, cost, Link::Less(member));
        }
        for (index, cell) in draft.cells.iter().enumerate().filter(|(_, cell)| cell.has > 0) {
            let cost = i64::from(cell.has <= cell.held);
            changed |= self.come(cell.member, self.members + cell.topic, cost, Link::Give(index));
        }
        for (index, cell) in draft.cells.iter().enumerate() {
            let cost = -i64::from(cell.has < cell.held);
            changed |= self.come(self.members + cell.topic, cell.member, cost, Link::Take(index));
        }
        for (member, load) in draft.loads.iter().enumerate() {
            let cost = self.weigh(2 * load + 1);
            changed |= self.come(member, scale, cost, Link::More(member));
        }
        changed
    }

    fn come(&mut self, from: usize, to: usize, cost: i64, link: Link) -> bool {
        let distance = self.distances[from] + cost;
        if distance >= self.distances[to] {
            return false;
        }
        self.distances[to] = distance;
        self.links[to] = Some((from, link));
        true
    }

    /// The circles among the cheapest ways: each costs less than nothing, and none touches another.
    fn circles(&self) -> Vec<Vec<Link>> {
        let mut seen_from: Vec<Option<usize>> = vec![None; self.links.len()];
        let mut circles = Vec::new();
        for start in 0..self.links.len() {
            let mut node = start;
            while seen_from[node].is_none() {
                seen_from[node] = Some(start);
                let Some((from, _)) = self.links[node] else { break };
                node = from;
            }
            if seen_from[node] == Some(start) && self.links[node].is_some() {
                circles.extend(self.circle_through(node));
            }
        }
        circles
    }

    /// The circle through the node, if the way to it comes from itself.
    fn circle_through(&self, end: usize) -> Option<Vec<Link>> {
        let mut circle = Vec::new();
        let mut node = end;
        loop {
            let (from, link) = self.links[node]?;
            circle.push(link);
            node = from;
            if node == end {
                return Some(circle);
            }
        }
    }

    fn forget_links(&mut self) {
        self.links.fill(None);
    }
}
