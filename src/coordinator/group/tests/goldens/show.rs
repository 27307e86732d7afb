//! What came of a command, in the words of the goldens.

use super::*;

/// What a member got, as [`given`] takes it.
fn show_given(assignment: &Bytes) -> String {
    let Ok(read) = read_assignment(assignment) else {
        return String::from_utf8_lossy(assignment).into_owned();
    };
    let partitions = read
        .assigned_partitions
        .iter()
        .flat_map(|of| of.partitions.iter().map(move |index| format!("{}/{index}", of.topic)));
    format!("={}", partitions.collect::<Vec<_>>().join("+"))
}

/// Topics by the letter that their ids are made of.
fn show_partitions<P: Iterator<Item = PartitionIndex>>(
    topics: impl Iterator<Item = (Uuid, P)>,
) -> String {
    let topics = topics.map(|(id, partitions)| {
        let partitions = partitions.map(|index| index.to_string()).collect::<Vec<_>>().join(",");
        format!("{}/{partitions}", char::from(id.as_bytes()[15]))
    });
    let shown = topics.collect::<Vec<_>>().join(" ");
    if shown.is_empty() { "nothing".into() } else { shown }
}

impl Story {
    pub(super) fn show_record(&mut self, record: &CoordinatorRecord) -> String {
        match record {
            CoordinatorRecord::OffsetCommit(key, value) => {
                let place = format!("record {} {}/{}", key.group, key.topic, key.partition);
                let Some(value) = value else { return format!("{place} -") };
                let expiry = value.expire_timestamp.map(|at| format!(" until {at}"));
                format!("{place}@{}{}", value.offset.unwrap(), expiry.unwrap_or_default())
            }
            CoordinatorRecord::GroupMetadata(key, None) => format!("record {} -", key.group),
            CoordinatorRecord::GroupMetadata(key, Some(value)) => {
                let members = value.members.iter().map(|member| {
                    let assignment = show_given(&member.assignment);
                    format!("{}:{assignment}", self.id(&member.member_id))
                });
                let members = members.collect::<Vec<_>>().join(",");
                let leader = value.leader.as_ref().map(|leader| self.id(leader));
                format!(
                    "record {} generation={} protocol={} leader={} [{members}]",
                    key.group,
                    value.generation,
                    value.protocol.as_deref().unwrap_or("-"),
                    leader.as_deref().unwrap_or("-"),
                )
            }
            CoordinatorRecord::ConsumerGroupMetadata(key, value) => {
                let epoch = value.as_ref().map(|value| format!("epoch={}", value.epoch));
                format!("record {} {}", key.group_id, epoch.as_deref().unwrap_or("epoch -"))
            }
            CoordinatorRecord::ConsumerGroupMemberMetadata(key, value) => {
                let reads = value.as_ref().map(|value| {
                    let fits = value.subscribed_topic_regex.as_ref();
                    let fits = fits.map(|fits| format!(" and what fits {fits:?}"));
                    let names = value.subscribed_topic_names.join("+");
                    let classic = value.classic_member_metadata.as_ref().map(|classic| {
                        let names = classic.supported_protocols.iter().map(|one| one.name.as_str());
                        let names = names.collect::<Vec<_>>().join(",");
                        let named = value.instance_id.as_ref().map(|name| format!(" is {name}"));
                        let timeout = classic.session_timeout_ms;
                        format!(", classic{}: {names} {timeout} ms", named.unwrap_or_default())
                    });
                    let (fits, classic) = (fits.unwrap_or_default(), classic.unwrap_or_default());
                    format!("reads {names}{fits}{classic}")
                });
                let reads = reads.unwrap_or_else(|| "-".into());
                format!("record {} member {} {reads}", key.group_id, self.id(&key.member_id))
            }
            CoordinatorRecord::ConsumerGroupTargetAssignmentMetadata(key, value) => {
                let epoch = value.as_ref().map(|value| value.assignment_epoch.to_string());
                format!("record {} target epoch={}", key.group_id, epoch.as_deref().unwrap_or("-"))
            }
            CoordinatorRecord::ConsumerGroupTargetAssignmentMember(key, value) => {
                let target = value.as_ref().map(|value| {
                    let topics = value.topic_partitions.iter();
                    let topics = topics.map(|topic| (topic.topic_id, &topic.partitions));
                    show_partitions(topics.map(|(id, of_it)| (id, of_it.iter().copied())))
                });
                let target = target.unwrap_or_else(|| "-".into());
                format!("record {} target of {} {target}", key.group_id, self.id(&key.member_id))
            }
            CoordinatorRecord::ConsumerGroupCurrentMemberAssignment(key, value) => {
                let value = value.as_ref().map(|value| {
                    let topics = |of: &[current_value::TopicPartitions]| {
                        let topics = of
                            .iter()
                            .map(|topic| (topic.topic_id, topic.partitions.clone().into_iter()));
                        show_partitions(topics)
                    };
                    let (has, revoking) = (
                        topics(&value.assigned_partitions),
                        topics(&value.partitions_pending_revocation),
                    );
                    let (epoch, state) = (value.member_epoch, value.state);
                    format!("epoch={epoch} state={state} has {has} gives up {revoking}")
                });
                let value = value.unwrap_or_else(|| "-".into());
                format!("record {} member {} {value}", key.group_id, self.id(&key.member_id))
            }
            CoordinatorRecord::ConsumerGroupRegularExpression(key, value) => {
                let fitting = value.as_ref().map(|value| value.topics.join("+"));
                let fitting = fitting.as_deref().unwrap_or("-");
                format!("record {} {:?} fit {fitting}", key.group_id, key.regular_expression)
            }
            CoordinatorRecord::ConsumerGroupPartitionMetadata(..) => {
                panic!("nobody writes {record:?}")
            }
        }
    }

    pub(super) fn show_reply(&mut self, name: &str, reply: &Reply) -> String {
        let results = |result: &Result<Vec<TopicResults>, ErrorCode>| match result {
            Err(error) => error.to_string(),
            Ok(topics) => {
                let each = topics.iter().flat_map(|topic| {
                    let name = topic.topic.name.clone();
                    topic
                        .partitions
                        .iter()
                        .map(move |(index, error)| format!("{name}/{index} {error}"))
                });
                each.collect::<Vec<_>>().join(", ")
            }
        };
        match reply {
            Reply::JoinGroup(Ok(joined)) => self.show_joined(name, joined),
            Reply::JoinGroup(Err(refused)) => {
                let member = refused.member.clone();
                let shown = member.as_deref().map(|id| self.id(id)).unwrap_or_default();
                if refused.error == ErrorCode::MemberIdRequired {
                    self.known.insert(name.to_owned(), (member, None));
                }
                format!("{} {shown}", refused.error)
            }
            Reply::SyncGroup(Ok(synced)) => {
                format!("synced {:?}", show_given(&synced.assignment))
            }
            Reply::Heartbeat(Ok(())) => "alive".into(),
            Reply::SyncGroup(Err(error)) | Reply::Heartbeat(Err(error)) => error.to_string(),
            Reply::LeaveGroup(Err(error)) | Reply::ListGroups(Err(error)) => error.to_string(),
            Reply::LeaveGroup(Ok(members)) => {
                let each = members.iter().map(|(member, error)| {
                    let id = member.member.as_deref().map(|id| self.id(id));
                    let instance = member.instance.as_deref().unwrap_or_default();
                    format!("{} {error}", id.unwrap_or_else(|| instance.to_owned()))
                });
                each.collect::<Vec<_>>().join(", ")
            }
            Reply::CommitOffsets(result) | Reply::DeleteOffsets(result) => results(result),
            Reply::FetchOffsets(Err(error)) => error.to_string(),
            Reply::FetchOffsets(Ok(topics)) => {
                let mut each = Vec::new();
                for topic in topics {
                    for (index, offset) in &topic.partitions {
                        let offset = offset.as_ref().map(|offset| offset.offset.to_string());
                        let offset = offset.unwrap_or_else(|| "none".into());
                        each.push(format!("{}/{index}@{offset}", topic.topic.name));
                    }
                }
                each.join(" ")
            }
            Reply::ListGroups(Ok(groups)) => {
                let each = groups.iter().map(|group| {
                    let (state, kind) = (group.state.name(), group.group_type.name());
                    format!("{} ({:?}, {state}, {kind})", group.group, group.protocol_type)
                });
                each.collect::<Vec<_>>().join(", ")
            }
            Reply::DescribeGroups(groups) => {
                groups.iter().map(|(id, group)| self.show_described(id, group)).collect()
            }
            Reply::ConsumerGroupHeartbeat(Err(error)) => {
                self.known.remove(name);
                error.to_string()
            }
            Reply::ConsumerGroupHeartbeat(Ok(answer)) => {
                let generation = GenerationId::from_wire(answer.member_epoch);
                if generation.is_some() {
                    self.known.insert(name.to_owned(), (Some(answer.member.clone()), generation));
                } else {
                    self.known.remove(name);
                }
                let assignment = answer.assignment.as_ref().map(|assignment| {
                    let topics = assignment.iter();
                    let shown = topics.map(|(id, of_it)| (*id, of_it.iter().copied()));
                    format!(" has {}", show_partitions(shown))
                });
                let own = Some(answer.interval)
                    .filter(|one| *one != self.config.consumer_heartbeat_interval)
                    .map(|one| format!(" every {one:?}"));
                let own = own.unwrap_or_default();
                format!("epoch {}{}{own}", answer.member_epoch, assignment.unwrap_or_default())
            }
            Reply::DescribeConsumerGroups(groups) => {
                let each = groups.iter().map(|(id, group)| match group {
                    Err(error) => format!("{id} {error}"),
                    Ok(group) => {
                        let (state, assignor) = (group.state.name(), group.assignor);
                        let members = group.members.iter().map(|member| {
                            let fits =
                                member.topic_regex.as_deref().filter(|fits| !fits.is_empty());
                            let fits = fits.map(|fits| format!(" reads what fits {fits:?}"));
                            let (epoch, client) = (member.epoch, &member.client_id);
                            let id = self.id(&member.member);
                            let kind = if member.is_classic { " (classic)" } else { "" };
                            format!("{id}@{epoch} of {client}{}{kind}", fits.unwrap_or_default())
                        });
                        let members = members.collect::<Vec<_>>().join(", ");
                        let epochs = (group.epoch, group.assignment_epoch);
                        format!("{id} {state} {epochs:?} {assignor} [{members}]")
                    }
                });
                each.collect::<Vec<_>>().join(", ")
            }
            Reply::DeleteGroups(groups) => {
                let each = groups.iter().map(|(group, error)| format!("{group} {error}"));
                each.collect::<Vec<_>>().join(", ")
            }
        }
    }

    fn show_joined(&mut self, name: &str, joined: &Joined) -> String {
        let known = (Some(joined.member.clone()), Some(joined.generation));
        self.known.insert(name.to_owned(), known);
        let member = self.id(&joined.member);
        let leader = joined.leader.as_deref().map(|id| self.id(id)).unwrap_or_default();
        let members = joined.members.iter().map(|member| self.id(&member.member));
        let members = members.collect::<Vec<_>>().join(",");
        let skip = if joined.skip_assignment { " skip-assignment" } else { "" };
        format!(
            "joined {} as {member}, leader {leader}, {} [{members}]{skip}",
            joined.generation,
            joined.protocol.as_deref().unwrap_or("-"),
        )
    }

    fn show_described(&mut self, id: &str, group: &Result<DescribedGroup, ErrorCode>) -> String {
        let group = match group {
            Ok(group) => group,
            Err(error) => return format!("{id} {error}"),
        };
        let members = group.members.iter().map(|member| {
            let id = self.id(&member.member);
            let said = if member.metadata.is_empty() { "" } else { " reads" };
            let assignment = show_given(&member.assignment);
            let instance = member.instance.as_deref().map(|name| format!(" {name}"));
            let instance = instance.unwrap_or_default();
            format!(
                "{id}{instance} {}@{}{said} {assignment:?}",
                member.client_id, member.client_host
            )
        });
        let members = members.collect::<Vec<_>>().join(", ");
        let state = group.state.name();
        format!("{id} {state} {:?} {:?} [{members}]", group.protocol_type, group.protocol)
    }

    /// Shows the groups that are not what they were.
    pub(super) fn show_groups(&mut self) {
        let groups: Vec<(GroupId, classic_group::ClassicGroup)> = self
            .coordinator
            .classic
            .iter()
            .map(|(id, group)| (id.clone(), group.clone()))
            .collect();
        let mut shown = BTreeMap::new();
        for (id, group) in groups {
            let mut members = Vec::new();
            for (member, state) in &group.members {
                let joining = if state.joining.is_some() { " joining" } else { "" };
                let syncing = if state.syncing.is_some() { " syncing" } else { "" };
                members.push(format!("{}{joining}{syncing}", self.id(member)));
            }
            for member in &group.pending_join {
                members.push(format!("{} pending", self.id(member)));
            }
            let state = group.shown_state().name();
            shown.insert(id, format!("{state} {} [{}]", group.generation, members.join(", ")));
        }
        let groups = self.coordinator.durable.consumer_groups.iter();
        let groups: Vec<_> = groups.map(|(id, group)| (id.clone(), group.clone())).collect();
        for (id, group) in groups {
            let members = group.members.keys().map(|member| {
                let current = group.current_of(member);
                format!("{}@{} {:?}", self.id(member), current.epoch, current.state)
            });
            let members = members.collect::<Vec<_>>().join(", ");
            let (epoch, target) = (group.group_epoch(), group.assignment_epoch());
            let text = format!("{} {epoch}/{target} [{members}]", group.state().name());
            shown.insert(id, text);
        }
        for (id, text) in &shown {
            if self.groups.get(id) != Some(text) {
                _ = writeln!(self.text, "  = {id} {text}");
            }
        }
        for id in self.groups.keys().filter(|id| !shown.contains_key(*id)) {
            _ = writeln!(self.text, "  = {id} is not in memory");
        }
        self.groups = shown;
    }
}
