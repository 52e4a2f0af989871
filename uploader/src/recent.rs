//! What is known of uploads that were opened here a short while ago, so that completing them asks nobody.

use protocol::{Digest, UploadId, UserId, upload::Upload};
use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
};

/// How many uploads are remembered; beyond it the oldest is forgotten.
const MAX: usize = 8192;

/// What never changes of uploads; nothing is said of how they stand.
#[derive(Default)]
pub(crate) struct Recent(Mutex<Memory>);

#[derive(Default)]
struct Memory {
    facts: HashMap<UploadId, Facts>,
    order: VecDeque<UploadId>,
}

/// What never changes of an upload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) owner: UserId,
    pub(crate) size: u64,
    /// As announced when it was opened.
    pub(crate) digest: Option<Digest>,
}

impl Recent {
    pub(crate) fn remember(&self, upload: &Upload) {
        let facts = Facts {
            owner: upload.owner.id,
            size: upload.meta.size,
            digest: upload.meta.digest,
        };
        let mut memory = self.memory();
        if memory.facts.insert(upload.upload_id, facts).is_none() {
            memory.order.push_back(upload.upload_id);
        }
        while memory.order.len() > MAX {
            if let Some(oldest) = memory.order.pop_front() {
                memory.facts.remove(&oldest);
            }
        }
    }

    pub(crate) fn of(&self, upload: UploadId) -> Option<Facts> {
        self.memory().facts.get(&upload).copied()
    }

    /// The upload is a file now, or over: whoever asks again is told what the store knows.
    pub(crate) fn forget(&self, upload: UploadId) {
        self.memory().facts.remove(&upload);
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::upload::{FileMeta, Upload};

    fn upload() -> Upload {
        let meta = serde_json::json!({ "name": "a", "size": 7 });
        let meta: FileMeta = serde_json::from_value(meta).unwrap();
        let now = jiff::Timestamp::UNIX_EPOCH;
        Upload {
            upload_id: UploadId::new(),
            file_id: protocol::FileId::new(),
            owner: protocol::identity::Owner {
                id: UserId::new(),
                name: "ada".to_owned(),
            },
            tenant: protocol::TenantId::default(),
            meta,
            computed_digest: None,
            status: protocol::TransferStatus::Open,
            attempts: 0,
            reason: None,
            code: None,
            opened_at: now,
            expires_at: now,
            received_at: None,
        }
    }

    #[test]
    fn only_the_latest_are_remembered() {
        let recent = Recent::default();
        let uploads: Vec<Upload> = (0..=MAX).map(|_| upload()).collect();
        for upload in &uploads {
            recent.remember(upload);
            recent.remember(upload);
        }
        assert_eq!(recent.of(uploads[0].upload_id), None);
        let last = &uploads[MAX];
        let facts = recent.of(last.upload_id).unwrap();
        assert_eq!((facts.owner, facts.size), (last.owner.id, 7));
        recent.forget(last.upload_id);
        assert_eq!(recent.of(last.upload_id), None);
        assert_eq!(recent.memory().order.len(), MAX);
    }
}
