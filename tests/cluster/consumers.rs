//! The library's consumers in a group whose coordinator goes.

use std::sync::{Arc, Mutex};

use crate::groups::coordinator;
use crate::members_support::{Member, TOPIC, at, create, offsets, orders, produce, settle, until};
use crate::setup::{Cluster, eventually};
use crate::support::run;

/// All nodes, for whoever does not know which will be there.
fn bootstrap(cluster: &Cluster) -> String {
    let addresses = cluster.running.values().map(|server| server.address.to_string());
    addresses.collect::<Vec<_>>().join(",")
}

#[test]
fn members_go_on_when_another_node_coordinates_them() {
    members_go_on(&[]);
}

#[test]
fn so_they_do_where_the_coordinator_assigns() {
    members_go_on(&[("group.protocol", "consumer")]);
}

fn members_go_on(settings: &[(&str, &str)]) {
    let mut cluster = Cluster::start(&["broker,controller"; 3]);
    let bootstrap = bootstrap(&cluster);
    run(async {
        create(&bootstrap, TOPIC, 3).await;
        produce(&bootstrap, TOPIC, "first").await;
        let mut a = Member::subscribed(&bootstrap, settings);
        let mut b = Member::subscribed(&bootstrap, settings);
        settle(&mut [&mut a, &mut b], &[2, 2]).await;
        until(&mut [&mut a, &mut b], |members| {
            members.iter().all(|member| offsets(&member.consumer.positions()) == [10; 2])
        })
        .await;
        let (generation, had) = (a.generation(), (a.partitions(), b.partitions()));
        a.told();
        b.told();
        let asked = *cluster.running.keys().next().unwrap();
        let first =
            eventually("there is a coordinator", || coordinator(&mut cluster.connect(asked)));
        let server = cluster.running.remove(&first).unwrap();
        let stopping = std::thread::spawn(move || server.stop());
        // Commits that meet the change: what was committed last is what the group has.
        let done = Arc::new(Mutex::new(Vec::new()));
        let partition = a.partitions()[0];
        let mut offset = 0;
        while !stopping.is_finished() || offset < 20 {
            offset += 1;
            let done = done.clone();
            let callback = move |result| done.lock().unwrap().push((offset, result));
            a.consumer.commit_async(at(partition, offset), callback).unwrap();
            a.poll().await;
            b.poll().await;
        }
        stopping.join().unwrap();
        until(&mut [&mut a, &mut b], |_| done.lock().unwrap().len() as i64 == offset).await;
        let last_stored = {
            let done = done.lock().unwrap();
            let stored = done.iter().filter(|(_, result)| result.is_ok());
            stored.map(|(offset, _)| *offset).max().unwrap()
        };
        assert_eq!(last_stored, offset, "the newest one is tried until it is stored");
        let committed = a.consumer.committed(&[orders(partition)]).await.unwrap();
        assert_eq!(committed, at(partition, offset));
        // They are members of the same generation, or in the same epoch.
        produce(&bootstrap, TOPIC, "second").await;
        until(&mut [&mut a, &mut b], |members| {
            members.iter().all(|member| {
                member.values.iter().filter(|value| value.starts_with("second")).count() == 20
            })
        })
        .await;
        a.consumer.commit().await.unwrap();
        b.consumer.commit().await.unwrap();
        assert_eq!(a.committed().await, [20; 4]);
        assert_eq!((a.partitions(), b.partitions()), had);
        assert_eq!((a.told(), b.told()), (Vec::new(), Vec::new()));
        assert_eq!((a.generation(), b.generation()), (generation, generation));
        let second = coordinator(&mut cluster.connect(*cluster.running.keys().next().unwrap()));
        assert_ne!(second, Some(first));
        a.consumer.close().await;
        b.consumer.close().await;
    });
    cluster.stop_all();
}
