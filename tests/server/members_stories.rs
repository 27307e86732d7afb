//! What is true of groups of the library's consumers whichever protocol they speak, against a node.

use ottla::client::ClientError;
use ottla::types::ErrorCode;

use crate::members_support::{Member, TOPIC, at, create, offsets, produce, settle, until};

/// Properties of a member.
pub(crate) type Properties<'a> = &'a [(&'a str, &'a str)];

/// What a listener hears of these partitions.
pub(crate) fn heard(what: &str, partitions: &[i32]) -> String {
    partitions.iter().fold(what.to_owned(), |text, index| format!("{text} {index}"))
}

/// Two members read each record once; when one leaves, the other one goes on where both were.
pub(crate) async fn members_share_the_work(
    bootstrap: &str,
    one: Properties<'_>,
    two: Properties<'_>,
) {
    let mut a = Member::subscribed(bootstrap, one);
    let mut b = Member::subscribed(bootstrap, two);
    settle(&mut [&mut a, &mut b], &[2, 2]).await;
    until(&mut [&mut a, &mut b], |members| {
        members.iter().all(|member| offsets(&member.consumer.positions()) == [10; 2])
    })
    .await;
    assert_eq!((&a.distinct() | &b.distinct()).len(), 40);
    a.consumer.commit().await.unwrap();
    b.consumer.commit().await.unwrap();
    a.consumer.close().await;
    produce(bootstrap, TOPIC, "second").await;
    b.values.clear();
    settle(&mut [&mut b], &[4]).await;
    until(&mut [&mut b], |members| members[0].values.len() >= 40).await;
    assert!(b.values.iter().all(|value| value.starts_with("second")), "{b:?}");
    b.consumer.commit().await.unwrap();
    assert_eq!(b.committed().await, [20; 4]);
    b.consumer.close().await;
}

/// A member that does not poll for longer than it may is out, cannot commit any more, is told so once it polls, and comes back.
pub(crate) async fn a_slow_member_is_out(bootstrap: &str, protocol: (&str, &str)) {
    let mut slow = Member::subscribed(bootstrap, &[protocol, ("max.poll.interval.ms", "2000")]);
    let mut b = Member::subscribed(bootstrap, &[protocol]);
    settle(&mut [&mut slow, &mut b], &[2, 2]).await;
    let had = slow.partitions();
    slow.told();
    settle(&mut [&mut b], &[4]).await;
    // It does not know yet, and cannot commit what others read already.
    assert_eq!(slow.partitions(), had);
    let refused = slow.consumer.commit_offsets(at(had[0], 5)).await;
    let Err(ClientError::Answer { error: ErrorCode::UnknownMemberId, .. }) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(slow.told(), [""; 0]);
    slow.poll().await;
    assert_eq!(slow.told()[0], heard("lost", &had));
    settle(&mut [&mut slow, &mut b], &[2, 2]).await;
    slow.consumer.close().await;
    b.consumer.close().await;
}

/// Later there are two topics more: `orders-of-old`, which fits `order.*`, and `reorders`, which does not.
pub(crate) async fn more_topics_come(bootstrap: &str) {
    create(bootstrap, "orders-of-old", 1).await;
    create(bootstrap, "reorders", 1).await;
    produce(bootstrap, "orders-of-old", "old").await;
    produce(bootstrap, "reorders", "no match").await;
}
