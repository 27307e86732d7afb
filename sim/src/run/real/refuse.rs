//! What a scenario asks for that real processes on one machine cannot give. It is refused before anything starts: a run that
//! left it out would show something else.

use serde_json::Value;

use crate::scenario::error::Problem;
use crate::scenario::plan::{Action, ExpectationKind, Heal, When};
use crate::scenario::{Plan, Scenario};
use crate::which;

/// Everything in a variant of a scenario that cannot be done for real, in the order of the file.
#[must_use]
pub fn refuse(scenario: &Scenario, variant: Option<&str>, seed: u64) -> Vec<Problem> {
    let plan = scenario.plan(variant, seed);
    let resolved = scenario.resolved(variant, seed);
    let mut refusals = Refusals { scenario, variant, found: Vec::new() };
    refusals.world(&resolved);
    if plan.heal == Heal::Core {
        let why = "whom a core can do without is known only where every disk is seen";
        refusals.add("/heal", "`heal = \"core\"`", why);
    }
    refusals.steps(&plan);
    refusals.expectations(&plan);
    refusals.found.sort();
    refusals.found
}

struct Refusals<'a> {
    scenario: &'a Scenario,
    variant: Option<&'a str>,
    found: Vec<Problem>,
}

impl Refusals<'_> {
    fn add(&mut self, pointer: &str, what: &str, why: &str) {
        let place = self.scenario.place(self.variant, pointer);
        let what = format!("{what} cannot be had in a real run");
        self.found.push(Problem { place, what, help: Some(why.to_owned()) });
    }

    /// The world as it is when nothing is broken.
    fn world(&mut self, resolved: &Value) {
        let keys = |table: &str| {
            let table = resolved.get(table).and_then(Value::as_object);
            table.map_or_else(Vec::new, |table| table.keys().cloned().collect::<Vec<_>>())
        };
        for key in keys("network") {
            let why = "loopback has the latency and the bandwidth that it has";
            self.add(&format!("/network/{key}"), &format!("`network.{key}`"), why);
        }
        for key in keys("disk") {
            // It says what a power loss does, and where there is none it says nothing.
            if key != "on-power-loss" {
                let why = "the disk is this machine's own";
                self.add(&format!("/disk/{key}"), &format!("`disk.{key}`"), why);
            }
        }
    }

    fn steps(&mut self, plan: &Plan) {
        for (index, step) in plan.timeline.iter().enumerate() {
            self.action(&format!("/timeline/{index}"), &step.action);
            if let Some(When { event, .. }) = &step.when {
                self.event(&format!("/timeline/{index}/when/event"), event);
            }
        }
        for (index, fault) in plan.chaos.iter().flat_map(|chaos| &chaos.faults).enumerate() {
            self.action(&format!("/chaos/faults/{index}"), &fault.action);
        }
    }

    fn action(&mut self, at: &str, action: &Action) {
        let why = match action {
            Action::PowerLoss { .. } => "a process can be killed, this machine's power stays on",
            Action::SlowLink { .. } | Action::Loss { .. } => {
                "links can be cut and connections reset, nothing in between"
            }
            Action::DropRequest { .. }
            | Action::DropResponse { .. }
            | Action::DelayRequest { .. }
            | Action::DelayResponse { .. }
            | Action::DuplicateRequest { .. } => "the proxies before the nodes do not read frames",
            Action::DiskSlow { .. }
            | Action::DiskFull { .. }
            | Action::DiskError { .. }
            | Action::Corrupt { .. } => "the disk is this machine's own",
            Action::ClockJump { .. } | Action::ClockDrift { .. } => {
                "all processes share this machine's clock"
            }
            Action::Pause { target } | Action::Resume { target } if target.is_client() => {
                return self.add(
                    &format!("{at}/target"),
                    &format!("`{}` of a client", action.name()),
                    "clients are threads of the testbed",
                );
            }
            Action::Kill { .. }
            | Action::Start { .. }
            | Action::Shutdown { .. }
            | Action::Pause { .. }
            | Action::Resume { .. }
            | Action::Wipe { .. }
            | Action::Partition { .. }
            | Action::Heal { .. }
            | Action::Reset { .. }
            | Action::AddClient { .. }
            | Action::StopClient { .. }
            | Action::KillClient { .. }
            | Action::AddBroker {}
            | Action::RemoveBroker { .. }
            | Action::UnregisterBroker { .. }
            | Action::Reassign { .. }
            | Action::AddPartitions { .. }
            | Action::DeleteRecords { .. }
            | Action::ResetOffsets { .. }
            | Action::ElectPreferred { .. }
            | Action::ElectUnclean { .. }
            | Action::SetConfig { .. }
            | Action::Mark { .. } => return,
        };
        self.add(&format!("{at}/do"), &format!("`{}`", action.name()), why);
    }

    /// Events that only the simulated world tells of: all others nodes and clients tell themselves.
    fn event(&mut self, at: &str, event: &str) {
        if ["disk.lost", "fault.bit"].contains(&event) {
            self.add(at, &format!("the event `{event}`"), "only the simulated world tells of it");
        }
    }

    fn expectations(&mut self, plan: &Plan) {
        for (index, expectation) in plan.expect.iter().enumerate() {
            let is_here = expectation
                .variant
                .as_deref()
                .is_none_or(|asked| asked == self.variant.unwrap_or(crate::scenario::NO_VARIANT));
            if !is_here {
                continue;
            }
            let at = format!("/expect/{index}");
            if let ExpectationKind::Event { event, .. } = &expectation.kind {
                self.event(&format!("{at}/event"), event);
            }
            if let ExpectationKind::Violations { check } = &expectation.kind
                && !which::is_checked(check)
            {
                let why = "it needs what nodes do inside at one moment: only the simulated world shows that";
                self.add(&format!("{at}/check"), &format!("the check `{check}`"), why);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(scenario: &str, expected: expect_test::Expect) {
        let text = format!("claim = \"x\"\nrun-for = \"9s\"\n{scenario}");
        let scenario =
            Scenario::load("s.toml", &text, &[]).unwrap_or_else(|problems| panic!("{problems}"));
        let refused = refuse(&scenario, None, 1);
        expected.assert_eq(&refused.iter().map(|one| format!("{one}\n")).collect::<String>());
    }

    const BITES: &str =
        "[[expect]]\nthat = \"event\"\nevent = \"fault.started\"\nis = 1\nbites = true\n";

    #[test]
    fn what_real_processes_cannot_give_is_refused_with_its_place() {
        check(
            &format!(
                "[network]\nlatency = \"5ms\"\n[disk]\non-power-loss = \"keep-all\"\nsync = \"1ms\"\n\
                 [[timeline]]\nat = \"1s\"\ndo = \"power-loss\"\ntarget = \"brokers(1)\"\n\
                 [[timeline]]\nwhen = {{ event = \"fault.bit\" }}\ndo = \"mark\"\ntext = \"x\"\n\
                 {BITES}[[expect]]\nthat = \"violations\"\ncheck = \"R3\"\nis = 0\n\
                 [[expect]]\nthat = \"violations\"\ncheck = \"lost-write\"\nis = 0\n"
            ),
            expect_test::expect![[r#"
                s.toml:4:12: `network.latency` cannot be had in a real run: loopback has the latency and the bandwidth that it has
                s.toml:7:9: `disk.sync` cannot be had in a real run: the disk is this machine's own
                s.toml:10:7: `power-loss` cannot be had in a real run: a process can be killed, this machine's power stays on
                s.toml:13:19: the event `fault.bit` cannot be had in a real run: only the simulated world tells of it
                s.toml:23:10: the check `R3` cannot be had in a real run: it needs what nodes do inside at one moment: only the simulated world shows that
            "#]],
        );
    }

    #[test]
    fn what_they_can_give_is_not() {
        check(
            &format!(
                "[[timeline]]\nwhen = {{ event = \"produce.acked\" }}\ndo = \"kill\"\ntarget = \"brokers(1)\"\n{BITES}"
            ),
            expect_test::expect![""],
        );
    }
}
