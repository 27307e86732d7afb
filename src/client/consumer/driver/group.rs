//! A consumer's link to its group: the membership behind a short lock, and a task that keeps it alive between polls. It decides nothing.
//!
//! The coordinator has connections of its own: it answers a JoinGroup when all have joined, and nothing behind it sooner.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::select;
use tokio::sync::{Notify, mpsc};

use crate::client::config::CommonConfig;
use crate::client::consumer::membership::{
    Answer, AnyMembership, Effect, Event, MembershipConfig, Question, Token,
};
use crate::client::driver::Nodes;
use crate::protocol::messages::Request;
use crate::rpc::driver::{CallOptions, Channel};
use crate::rpc::network_client::RpcError;
use crate::runtime::clock::wait_until;
use crate::runtime::{Env, Timer, task};
use crate::types::GenerationId;

/// No answer of a coordinator is larger: a leader hears of all members, and each says little.
const RESPONSE_BYTES_MAX: usize = 64 << 20;

/// The owner's end.
pub(super) struct Group {
    shared: Arc<Shared>,
    inputs: mpsc::UnboundedSender<Input>,
}

struct Shared {
    inner: Mutex<Inner>,
    /// Something happened that the owner may want to know.
    changed: Notify,
}

/// What the task waits for, beside the time.
enum Input {
    Answered(Token, Answer),
    /// The owner did something: the deadline may be another.
    Look,
    /// The owner is gone.
    End,
}

struct Inner {
    machine: AnyMembership,
    env: Env,
    /// Where the coordinator is asked.
    coordinators: Nodes,
    /// Where it is asked who that is.
    others: Nodes,
    request_timeout: Duration,
    /// What the owner is to do, in order.
    effects: VecDeque<Effect>,
    answer_to: mpsc::UnboundedSender<Input>,
}

impl Group {
    pub(super) fn new(config: MembershipConfig, common: &CommonConfig, env: &Env) -> Self {
        let (inputs, received) = mpsc::unbounded_channel();
        let rng = env.rng_of_next_member(&common.client_id);
        let inner = Inner {
            machine: AnyMembership::new(config, rng),
            env: env.clone(),
            coordinators: Nodes::new(common, RESPONSE_BYTES_MAX, env),
            others: Nodes::new(common, RESPONSE_BYTES_MAX, env),
            request_timeout: common.request_timeout,
            effects: VecDeque::new(),
            answer_to: inputs.clone(),
        };
        let shared = Arc::new(Shared { inner: Mutex::new(inner), changed: Notify::new() });
        let _task = task::spawn(run(Arc::clone(&shared), received, env.clock.timer()));
        Self { shared, inputs }
    }

    /// Something happened to the owner.
    pub(super) fn handle(&self, event: Event) {
        let is_earlier = {
            let mut inner = self.shared.lock();
            let before = inner.machine.deadline();
            inner.handle(event);
            let after = inner.machine.deadline();
            after.is_some_and(|after| before.is_none_or(|before| after < before))
        };
        if is_earlier {
            // The task ends only after the owner.
            let _ = self.inputs.send(Input::Look);
        }
    }

    /// What is to be done next.
    pub(super) fn next_effect(&self) -> Option<Effect> {
        self.shared.lock().effects.pop_front()
    }

    /// Waits until something may have happened. Cancel-safe.
    pub(super) async fn changed(&self) {
        self.shared.changed.notified().await;
    }

    /// The member's id and generation or member epoch.
    pub(super) fn identity(&self) -> (Option<Arc<str>>, Option<GenerationId>) {
        let inner = self.shared.lock();
        let (member, generation) = inner.machine.identity();
        (member.cloned(), generation)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = self.inputs.send(Input::End);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("nothing panics with a membership locked")
    }
}

async fn run(
    shared: Arc<Shared>,
    mut inputs: mpsc::UnboundedReceiver<Input>,
    mut timer: Box<dyn Timer>,
) {
    loop {
        let deadline = shared.lock().machine.deadline();
        let event = select! {
            biased;
            input = inputs.recv() => match input {
                Some(Input::Answered(token, answer)) => Event::Answered(token, answer),
                Some(Input::Look) => continue,
                Some(Input::End) | None => return,
            },
            () = wait_until(timer.as_mut(), deadline) => Event::Tick,
        };
        shared.lock().handle(event);
        shared.changed.notify_one();
    }
}

impl Inner {
    fn handle(&mut self, event: Event) {
        let mut out = Vec::new();
        self.machine.handle(self.env.clock.now(), event, &mut out);
        for effect in out {
            if let Effect::Ask { target, token, question, timeout } = effect {
                let versions = question.versions();
                let timeout = timeout.unwrap_or(self.request_timeout);
                let options = CallOptions { versions, timeout };
                let is_lookup = matches!(question, Question::FindCoordinator(_));
                let nodes = if is_lookup { &mut self.others } else { &mut self.coordinators };
                let channel = nodes.channel(&target);
                self.ask(&channel, token, question, options);
            } else {
                self.effects.push_back(effect);
            }
        }
    }

    fn ask(&self, channel: &Channel, token: Token, question: Question, options: CallOptions) {
        match question {
            Question::FindCoordinator(request) => {
                self.submit(channel, token, request, options, Answer::FindCoordinator);
            }
            Question::JoinGroup(request) => {
                self.submit(channel, token, request, options, Answer::JoinGroup);
            }
            Question::SyncGroup(request) => {
                self.submit(channel, token, request, options, Answer::SyncGroup);
            }
            Question::Heartbeat(request) => {
                self.submit(channel, token, request, options, Answer::Heartbeat);
            }
            Question::LeaveGroup(request) => {
                self.submit(channel, token, request, options, Answer::LeaveGroup);
            }
            Question::DescribeGroups(request) => {
                self.submit(channel, token, request, options, Answer::DescribeGroups);
            }
            Question::ConsumerGroupHeartbeat(request) => {
                self.submit(channel, token, request, options, Answer::ConsumerGroupHeartbeat);
            }
            Question::OffsetCommit(request) | Question::OffsetCommitOfEpoch(request) => {
                self.submit(channel, token, request, options, Answer::OffsetCommit);
            }
            Question::OffsetFetch(request) => {
                self.submit(channel, token, request, options, Answer::OffsetFetch);
            }
        }
    }

    fn submit<R>(
        &self,
        channel: &Channel,
        token: Token,
        request: R,
        options: CallOptions,
        wrap: fn(Result<R::Response, RpcError>) -> Answer,
    ) where
        R: Request + Send + 'static,
        R::Response: Send + 'static,
    {
        let answer_to = self.answer_to.clone();
        channel.submit(request, options, move |answer| {
            // Whoever asked may be gone: then nobody cares.
            let _ = answer_to.send(Input::Answered(token, wrap(answer)));
        });
    }
}
