//! Keys are exchanged while everything goes on.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use http::Method;
use service_kit::peer::Peer;

use super::support::{Replica, config, echo, free, keys, unique, until};

/// Two replicas and two callers, each restarted with new settings in turn, three times: `old`, `old,new`, `new,old`, `new`. No
/// call fails meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_is_exchanged_without_a_failing_call() {
    let service = unique("rotation");
    let mut replicas = Vec::new();
    for _ in 0..2 {
        replicas.push(Replica::start(&service, free(), keys(&["old"]), echo()).await);
    }
    let addresses: Vec<_> = replicas
        .iter()
        .map(|replica| format!("http://{}", replica.address))
        .collect();
    let caller = |names: &[&str]| {
        Caller::start(Peer::remote(&*service, &addresses, keys(names), &config()).unwrap())
    };
    let mut callers = vec![caller(&["old"]), caller(&["old"])];

    for names in [&["old", "new"][..], &["new", "old"], &["new"]] {
        // One process after the other, replicas and callers mixed.
        for number in 0..2 {
            let replica = replicas.remove(0);
            let at = replica.address;
            replica.stop().await;
            replicas.push(Replica::start(&service, at, keys(names), echo()).await);
            callers.push(caller(names));
            callers.remove(0).stop().await;
            for caller in &callers {
                let before = caller.calls();
                until("more calls", async || caller.calls() > before + 20).await;
            }
            until("calls to the new replica", async || replicas[1].calls() > 0).await;
            assert!(number < 2);
        }
    }
    for caller in callers {
        caller.stop().await;
    }
}

/// A process that calls all the time.
struct Caller {
    is_over: Arc<AtomicBool>,
    calls: Arc<AtomicU64>,
    calling: tokio::task::JoinHandle<()>,
}

impl Caller {
    fn start(peer: Peer) -> Self {
        let (is_over, calls) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicU64::new(0)),
        );
        let (over, count) = (is_over.clone(), calls.clone());
        let calling = tokio::spawn(async move {
            while !over.load(Ordering::SeqCst) {
                let call = peer.request(Method::PUT, "/thing").json(&7);
                assert_eq!(call.receive::<u32>().await.unwrap(), 7);
                count.fetch_add(1, Ordering::SeqCst);
            }
        });
        Self {
            is_over,
            calls,
            calling,
        }
    }

    fn calls(&self) -> u64 {
        self.calls.load(Ordering::SeqCst)
    }

    /// Ends; fails if a call has failed.
    async fn stop(self) {
        self.is_over.store(true, Ordering::SeqCst);
        self.calling.await.unwrap();
    }
}
