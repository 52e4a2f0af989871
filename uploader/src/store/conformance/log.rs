//! The notification log: dense, in order, and the same to everybody.

use super::{Change, Fresh, at, digest, owner, upload};
use futures::future::join_all;
use protocol::{
    TenantId, Topic, TransferStatus,
    event::{FileEvent, Notification},
    upload::{LogHead, Upload},
};
use std::collections::BTreeMap;

impl Fresh {
    /// A whole log.
    async fn whole(&self, topic: Topic, tenant: &TenantId) -> Vec<Notification> {
        self.store
            .log(topic, tenant, 0, 10_000)
            .await
            .unwrap()
            .notifications
    }

    /// Reports two attempts on a file: the first fails, the second succeeds.
    async fn stored_at_the_second_attempt(&self, file: &Upload) {
        self.dispatched(at(1)).await;
        let retry = Change::Retry {
            attempt: 1,
            reason: "no room".to_owned(),
            due_at: at(2),
        };
        self.changed(file.upload_id, retry, at(2)).await;
        self.dispatched(at(2)).await;
        self.changed(file.upload_id, Change::Store { attempt: 2 }, at(3))
            .await;
    }
}

pub(super) async fn changes_are_told_to_owner_and_admins(mut fresh: Fresh) {
    let file = fresh.cached(upload(&owner("anna")), at(1)).await;
    fresh.stored_at_the_second_attempt(&file).await;
    let mut told: BTreeMap<Topic, Vec<Notification>> = BTreeMap::new();
    while let Ok(news) = fresh.news.try_recv() {
        for published in news {
            assert_eq!(published.tenant, file.tenant);
            told.entry(published.notification.topic)
                .or_default()
                .push(published.notification);
        }
    }
    for topic in [Topic::User(file.owner.id), Topic::Admin] {
        let log = fresh.whole(topic, &file.tenant).await;
        assert_eq!(told[&topic], log, "what is told is what is in the log");
        let seen: Vec<_> = log
            .iter()
            .map(|entry| (entry.offset, entry.event.as_str(), entry.time))
            .collect();
        assert_eq!(
            seen,
            [
                (1, "file.cached", at(1)),
                (2, "file.retrying", at(2)),
                (3, "file.uploaded_successfully", at(3))
            ]
        );
        let events: Vec<FileEvent> = log
            .into_iter()
            .map(|entry| serde_json::from_value(entry.data).unwrap())
            .collect();
        let said: Vec<_> = events
            .iter()
            .map(|event| (event.status, event.attempt, event.reason.as_deref()))
            .collect();
        assert_eq!(
            said,
            [
                (TransferStatus::Cached, None, None),
                (TransferStatus::Retrying, Some(1), Some("no room")),
                (TransferStatus::UploadedSuccessfully, Some(2), None),
            ]
        );
        assert!(
            events
                .iter()
                .all(|event| event.file_id == file.file_id && event.digest == Some(digest(1)))
        );
    }
    assert_eq!(told.len(), 2);
}

pub(super) async fn numbers_are_dense_in_a_race(mut fresh: Fresh) {
    let owners = [owner("anna"), owner("berta")];
    let race = (0..60).map(|number| fresh.cached(upload(&owners[number % 2]), at(1)));
    let files = join_all(race).await;
    let mut told: BTreeMap<Topic, Vec<u64>> = BTreeMap::new();
    while let Ok(news) = fresh.news.try_recv() {
        for published in news {
            told.entry(published.notification.topic)
                .or_default()
                .push(published.notification.offset);
        }
    }
    assert_eq!(
        told[&Topic::Admin],
        (1..=60).collect::<Vec<u64>>(),
        "each once, in order"
    );
    for owner in &owners {
        assert_eq!(told[&Topic::User(owner.id)], (1..=30).collect::<Vec<u64>>());
    }
    let log = fresh.whole(Topic::Admin, &files[0].tenant).await;
    assert_eq!(
        log.iter().map(|entry| entry.offset).collect::<Vec<_>>(),
        (1..=60).collect::<Vec<u64>>()
    );
}

pub(super) async fn a_page_is_a_stretch_of_the_log(fresh: Fresh) {
    let anna = owner("anna");
    for _ in 0..5 {
        fresh.cached(upload(&anna), at(1)).await;
    }
    let page = async |after, limit| {
        let page = fresh
            .store
            .log(Topic::User(anna.id), &TenantId::default(), after, limit)
            .await
            .unwrap();
        assert_eq!((page.head, page.oldest), (5, 1));
        page.notifications
            .iter()
            .map(|entry| entry.offset)
            .collect::<Vec<_>>()
    };
    assert_eq!(page(0, 2).await, [1, 2]);
    assert_eq!(page(2, 2).await, [3, 4]);
    assert_eq!(page(4, 2).await, [5]);
    assert!(page(5, 2).await.is_empty());
    assert!(page(0, 0).await.is_empty());
    assert!(page(u64::MAX, 2).await.is_empty());
}

pub(super) async fn an_epoch_is_made_once(fresh: Fresh) {
    let (anna, tenant) = (owner("anna"), TenantId::default());
    let topic = Topic::User(anna.id);
    let name = topic.log_name(&tenant);
    let empty = fresh.store.log(topic, &tenant, 0, 10).await.unwrap();
    assert_eq!(
        (empty.head, empty.oldest, empty.notifications.len()),
        (0, 1, 0)
    );
    assert!(!empty.epoch.is_empty());
    fresh.cached(upload(&anna), at(1)).await;
    let one = fresh.store.log(topic, &tenant, 0, 10).await.unwrap();
    assert_eq!((one.head, &one.epoch), (1, &empty.epoch));
    assert_eq!(one.notifications[0].epoch, empty.epoch);

    let logs = [
        "admin:elsewhere".to_owned(),
        name,
        "admin:elsewhere".to_owned(),
    ];
    let races = join_all((0..20).map(|_| fresh.store.heads(&logs))).await;
    let first = races[0].as_ref().unwrap().clone();
    assert_eq!(first[0], first[2]);
    assert_eq!(first[0].head, 0);
    assert_eq!(
        first[1],
        LogHead {
            log: logs[1].clone(),
            epoch: empty.epoch,
            head: 1,
            oldest: 1,
        }
    );
    for heads in races {
        assert_eq!(heads.unwrap(), first);
    }
    assert_eq!(fresh.store.heads(&[]).await.unwrap(), []);
}

pub(super) async fn tenants_have_admin_logs_of_their_own(fresh: Fresh) {
    let here = fresh.cached(upload(&owner("anna")), at(1)).await;
    let elsewhere = Upload {
        tenant: TenantId("elsewhere".to_owned()),
        ..upload(&owner("berta"))
    };
    let elsewhere = fresh.cached(elsewhere, at(1)).await;
    for file in [here, elsewhere] {
        let log = fresh.whole(Topic::Admin, &file.tenant).await;
        assert_eq!(log.len(), 1);
        assert_eq!((log[0].topic, log[0].offset), (Topic::Admin, 1));
        assert_eq!(log[0].data["file_id"], file.file_id.to_string());
    }
}
