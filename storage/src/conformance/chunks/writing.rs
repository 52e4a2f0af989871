//! Opening, holding and appending.

use super::{ChunkFixture, append, content, expected, open, start, start_with};
use crate::{
    chunks::{Batches, ChunkCache, ChunkError, Hold, Piece},
    conformance::pattern,
};
use bytes::Bytes;
use futures::{FutureExt, future::join_all};
use protocol::UploadId;
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
};

pub(super) async fn order(fixture: &impl ChunkFixture) {
    let cache = open(fixture).await;
    let bytes = pattern(1, 1000);
    let (upload, hold) = start(&*cache, 1000).await;
    assert_eq!(hold.held, 0);
    assert_eq!(
        append(&*cache, upload, hold, &bytes[..400])
            .await
            .expect("it fits"),
        400
    );

    for offset in [0, 399, 401, 1000, u64::MAX] {
        let late = cache
            .append(
                upload,
                hold.generation,
                offset,
                vec![Bytes::from_static(b"x").into()],
            )
            .await;
        assert_eq!(expected(late), 400, "at {offset}");
    }
    let at_400 = Hold { held: 400, ..hold };
    assert_eq!(
        expected(append(&*cache, upload, at_400, &[0; 601]).await),
        400,
        "beyond the announced size"
    );
    assert_eq!(content(&*cache, upload).await, bytes[..400]);

    assert_eq!(
        append(&*cache, upload, at_400, &bytes[400..])
            .await
            .expect("it fits"),
        1000
    );
    assert_eq!(content(&*cache, upload).await, bytes);
}

pub(super) async fn empty_parts(fixture: &impl ChunkFixture) {
    let cache = open(fixture).await;
    let (upload, hold) = start(&*cache, 6).await;
    let nothing = cache.append(upload, hold.generation, 0, Vec::new()).await;
    assert_eq!(nothing.expect("nothing fits"), 0);
    let empty = cache
        .append(
            upload,
            hold.generation,
            0,
            vec![Piece::default(), Piece::default()],
        )
        .await;
    assert_eq!(empty.expect("nothing fits"), 0);
    let parts = ["", "abc", "", "def", ""]
        .map(|part| Bytes::from_static(part.as_bytes()).into())
        .to_vec();
    assert_eq!(
        cache
            .append(upload, hold.generation, 0, parts)
            .await
            .expect("it fits"),
        6
    );
    assert_eq!(
        cache
            .append(upload, hold.generation, 6, vec![Piece::default()])
            .await
            .expect("nothing fits"),
        6
    );
    assert_eq!(content(&*cache, upload).await, b"abcdef");
}

pub(super) async fn many_parts(fixture: &impl ChunkFixture) {
    let cache = open(fixture).await;
    let bytes = Bytes::from(pattern(2, 3 * 2500));
    let (upload, hold) = start(&*cache, bytes.len()).await;
    let parts = (0..2500)
        .map(|part| bytes.slice(part * 3..part * 3 + 3).into())
        .collect();
    assert_eq!(
        cache
            .append(upload, hold.generation, 0, parts)
            .await
            .expect("it fits"),
        bytes.len() as u64
    );
    assert_eq!(content(&*cache, upload).await, bytes);
}

/// Batches of which some come while others are added, and what was said of them.
struct Coming {
    batches: Mutex<VecDeque<Vec<Piece>>>,
    /// What comes when the first of the others are added.
    later: Mutex<VecDeque<Vec<Piece>>>,
    added: Mutex<Vec<u64>>,
}

impl Coming {
    fn new(batches: &[&[u8]], later: &[&[u8]]) -> Arc<Self> {
        let pieces = |batches: &[&[u8]]| {
            let piece = |bytes: &&[u8]| vec![Bytes::copy_from_slice(bytes).into()];
            Mutex::new(batches.iter().map(piece).collect())
        };
        Arc::new(Self {
            batches: pieces(batches),
            later: pieces(later),
            added: Mutex::default(),
        })
    }

    fn said(&self) -> Vec<u64> {
        self.added.lock().expect("nobody has panicked").clone()
    }
}

impl Batches for Coming {
    fn next(&self) -> Option<Vec<Piece>> {
        let mut batches = self.batches.lock().expect("nobody has panicked");
        batches.pop_front()
    }

    fn added(&self, held: u64) {
        self.added.lock().expect("nobody has panicked").push(held);
        let mut later = self.later.lock().expect("nobody has panicked");
        let mut batches = self.batches.lock().expect("nobody has panicked");
        batches.append(&mut later);
    }
}

pub(super) async fn batches(fixture: &impl ChunkFixture) {
    let cache = open(fixture).await;
    let bytes = pattern(4, 100);
    let (upload, hold) = start(&*cache, bytes.len()).await;
    let add = async |offset, coming: &Arc<Coming>| {
        let coming = Arc::clone(coming) as Arc<dyn Batches>;
        cache
            .append_all(upload, hold.generation, offset, coming)
            .await
    };
    assert_eq!(
        add(0, &Coming::new(&[], &[])).await.expect("nothing fits"),
        0
    );
    // More than any adapter takes at once.
    let later: Vec<&[u8]> = bytes[30..80].chunks(5).collect();
    let coming = Coming::new(&[&bytes[..10], b"", &bytes[10..30]], &later);
    let mut held = 0;
    while held < 80 {
        let before = held;
        held = add(held, &coming).await.expect("it fits");
        assert!(held > before, "something was there to be added");
    }
    let said = coming.said();
    assert_eq!(said.last(), Some(&80));
    assert!(said.is_sorted(), "{said:?}");
    assert_eq!(content(&*cache, upload).await, bytes[..80]);

    let too_much = Coming::new(&[&bytes[80..90]], &[&[0; 11], b"z"]);
    assert_eq!(expected(add(80, &too_much).await), 90);
    assert_eq!(too_much.said(), [90], "what was added before stays");
    assert_eq!(content(&*cache, upload).await, bytes[..90]);
    let gone_on = Coming::new(&[&bytes[90..]], &[]);
    assert_eq!(add(90, &gone_on).await.expect("it fits"), 100);

    let (upload, old) = start(&*cache, 10).await;
    cache.resume(upload).await.expect("it is there");
    let late = Coming::new(&[&bytes[..5]], &[]);
    let refused = cache
        .append_all(upload, old.generation, 0, late.clone())
        .await;
    assert!(matches!(refused, Err(ChunkError::Superseded { .. })));
    assert_eq!(late.said(), [0; 0]);
}

pub(super) async fn generations(fixture: &impl ChunkFixture) {
    let cache = open(fixture).await;
    let bytes = pattern(3, 30);
    let (upload, first) = start(&*cache, 30).await;
    append(&*cache, upload, first, &bytes[..10])
        .await
        .expect("it is held");

    let second = cache
        .open(upload, 30)
        .await
        .expect("opening again is a resume");
    assert!(second.generation > first.generation);
    assert_eq!(second.held, 10);
    let third = cache.resume(upload).await.expect("it is there");
    assert!(third.generation > second.generation);

    for late in [first, second] {
        let late = Hold { held: 10, ..late };
        let refused = append(&*cache, upload, late, b"late").await;
        assert!(
            matches!(refused, Err(ChunkError::Superseded { .. })),
            "{refused:?}"
        );
    }
    assert_eq!(
        append(&*cache, upload, third, &bytes[10..])
            .await
            .expect("it is held"),
        30
    );
    for late in [first, second] {
        let refused = cache.seal(upload, late.generation).await;
        assert!(
            matches!(refused, Err(ChunkError::Superseded { .. })),
            "{refused:?}"
        );
    }
    assert!(!cache.stat(upload).await.expect("it is there").sealed);
    cache
        .seal(upload, third.generation)
        .await
        .expect("all is held");
    assert_eq!(content(&*cache, upload).await, bytes);
}

pub(super) async fn takeover(fixture: &impl ChunkFixture) {
    let cache = open(fixture).await;
    let bytes = Arc::new(pattern(4, 20_000));
    let (upload, hold) = start(&*cache, bytes.len()).await;
    let mut writers = vec![tokio::spawn(write(
        Arc::clone(&cache),
        upload,
        hold,
        Arc::clone(&bytes),
    ))];
    for _ in 0..5 {
        let held = cache.stat(upload).await.expect("it is there").held;
        while held < bytes.len() as u64
            && cache.stat(upload).await.expect("it is there").held == held
        {
            tokio::task::yield_now().await;
        }
        let hold = cache.resume(upload).await.expect("it is there");
        writers.push(tokio::spawn(write(
            Arc::clone(&cache),
            upload,
            hold,
            Arc::clone(&bytes),
        )));
    }
    join_all(writers)
        .await
        .into_iter()
        .for_each(|writer| writer.expect("a writer ends when superseded"));
    assert_eq!(content(&*cache, upload).await, *bytes);
}

/// Appends small pieces until all is held or another writer holds the upload.
async fn write(cache: Arc<dyn ChunkCache>, upload: UploadId, mut hold: Hold, bytes: Arc<Vec<u8>>) {
    while hold.held < bytes.len() as u64 {
        let start = usize::try_from(hold.held).expect("it is in memory");
        let piece = &bytes[start..bytes.len().min(start + 97)];
        match append(&*cache, upload, hold, piece).await {
            Ok(held) => hold.held = held,
            Err(ChunkError::Superseded { .. }) => return,
            Err(other) => panic!("{other}"),
        }
    }
}

pub(super) async fn reopened(fixture: &impl ChunkFixture) {
    let bytes = pattern(5, 300_000);
    let cache = open(fixture).await;
    let (upload, mut before) = start(&*cache, bytes.len()).await;
    for piece in bytes[..200_000].chunks(7_001) {
        before.held = append(&*cache, upload, before, piece)
            .await
            .expect("it is held");
    }
    drop(cache);

    let cache = open(fixture).await;
    let after = cache.resume(upload).await.expect("it is there");
    assert!(after.generation > before.generation);
    let refused = append(&*cache, upload, before, &bytes[200_000..]).await;
    assert!(
        matches!(refused, Err(ChunkError::Superseded { .. })),
        "{refused:?}"
    );
    assert_eq!(after.held, 200_000);
    assert_eq!(
        append(&*cache, upload, after, &bytes[200_000..])
            .await
            .expect("it is held"),
        300_000
    );
    cache
        .seal(upload, after.generation)
        .await
        .expect("all is held");
    assert_eq!(content(&*cache, upload).await, bytes);
}

pub(super) async fn cut_off(fixture: &impl ChunkFixture) {
    let cache = open(fixture).await;
    let bytes = pattern(6, 50_000);
    let (upload, mut hold) = start(&*cache, bytes.len()).await;
    for piece in bytes.chunks(1000) {
        // Polled once, then dropped: it may have begun.
        let _ = append(&*cache, upload, hold, piece).now_or_never();
        let before = hold.held;
        hold = cache.resume(upload).await.expect("it is there");
        assert!(
            hold.held == before || hold.held == before + 1000,
            "{before} became {}",
            hold.held
        );
        if hold.held == before {
            hold.held = append(&*cache, upload, hold, piece)
                .await
                .expect("it is held");
        }
    }
    assert_eq!(content(&*cache, upload).await, bytes);
}

pub(super) async fn concurrent(fixture: &impl ChunkFixture) {
    let cache = open(fixture).await;
    let uploads = (0..64).map(|number| {
        let cache = Arc::clone(&cache);
        tokio::spawn(async move {
            let bytes = pattern(
                100 + number,
                40_000 + usize::try_from(number).expect("it is small") * 31,
            );
            let (upload, mut hold) = start(&*cache, bytes.len()).await;
            for piece in bytes.chunks(4_099) {
                hold.held = append(&*cache, upload, hold, piece)
                    .await
                    .expect("it is held");
            }
            cache
                .seal(upload, hold.generation)
                .await
                .expect("all is held");
            (upload, bytes)
        })
    });
    for upload in join_all(uploads).await {
        let (upload, bytes) = upload.expect("no upload fails");
        assert_eq!(content(&*cache, upload).await, bytes);
    }
    let (other, _) = start_with(&*cache, b"alone").await;
    assert_eq!(content(&*cache, other).await, b"alone");
}
