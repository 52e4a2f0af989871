//! A model of what stands behind a gateway: uploads by key, bytes held under a generation, and the files made of them.

use jiff::Timestamp;
use protocol::{
    Digest, DigestAlgorithm, ErrorCode, FileId, Refusal, TransferStatus, UploadId, UploadKey,
    message::Start,
    session::server::{Completed, Opened},
};
use std::collections::BTreeMap;
use uuid::Uuid;

#[derive(Default)]
pub(crate) struct Cloud {
    uploads: BTreeMap<UploadId, Upload>,
    keys: BTreeMap<UploadKey, UploadId>,
    /// Every file ever made, in order.
    pub(crate) files: Vec<(UploadKey, Vec<u8>)>,
}

struct Upload {
    key: UploadKey,
    size: u64,
    held: Vec<u8>,
    generation: u64,
    is_file: bool,
    /// Whether held bytes were ever lost, so that a sender may not know what is held.
    was_robbed: bool,
}

/// The right to write to an upload, until someone else opens it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hold {
    pub(crate) upload_id: UploadId,
    generation: u64,
}

/// A stand-in for a digest: a test needs no cryptography.
pub(crate) fn digest(bytes: &[u8]) -> Digest {
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let mut digest = [0; 32];
    digest[..8].copy_from_slice(&hash.to_be_bytes());
    digest[8..16].copy_from_slice(&(bytes.len() as u64).to_be_bytes());
    Digest::new(DigestAlgorithm::Sha256, digest)
}

impl Cloud {
    pub(crate) fn start(&mut self, start: &Start) -> (Hold, Opened) {
        let Start::Open {
            key: Some(key),
            meta,
        } = start
        else {
            panic!("the sender starts by key: {start:?}")
        };
        let fresh = UploadId(Uuid::from_u128(self.uploads.len() as u128 + 1));
        let upload_id = *self.keys.entry(*key).or_insert(fresh);
        let upload = self.uploads.entry(upload_id).or_insert_with(|| Upload {
            key: *key,
            size: meta.size,
            held: Vec::new(),
            generation: 0,
            is_file: false,
            was_robbed: false,
        });
        upload.generation += 1;
        let opened = Opened {
            upload_id,
            file_id: FileId(upload_id.0),
            size: upload.size,
            offset: upload.held.len() as u64,
            status: if upload.is_file {
                TransferStatus::Storing
            } else {
                TransferStatus::Open
            },
            expires_at: Timestamp::MAX,
            ended: None,
        };
        (
            Hold {
                upload_id,
                generation: upload.generation,
            },
            opened,
        )
    }

    pub(crate) fn store(
        &mut self,
        hold: Hold,
        offset: u64,
        payload: &[u8],
    ) -> Result<u64, Refusal> {
        let upload = self.held_by(hold)?;
        let held = upload.held.len() as u64;
        if offset != held {
            assert!(
                upload.was_robbed,
                "a chunk for {offset} is stored where {held} bytes are held"
            );
            return Err(Refusal::bare(ErrorCode::Unavailable)
                .expecting(held)
                .retry_after_ms(1));
        }
        upload.held.extend_from_slice(payload);
        Ok(upload.held.len() as u64)
    }

    pub(crate) fn complete(
        &mut self,
        upload_id: UploadId,
        hold: Option<Hold>,
        announced: Option<Digest>,
    ) -> Result<Completed, Refusal> {
        let upload = match hold {
            Some(hold) => self.held_by(hold)?,
            None => self
                .uploads
                .get_mut(&upload_id)
                .expect("the server names only uploads that were opened"),
        };
        if !upload.is_file {
            let held = upload.held.len() as u64;
            if held < upload.size {
                return Err(Refusal::bare(ErrorCode::Incomplete).expecting(held));
            }
            assert_eq!(held, upload.size, "more bytes are held than were announced");
            assert!(
                announced.is_none_or(|announced| announced == digest(&upload.held)),
                "the bytes held are not those announced"
            );
            upload.is_file = true;
            let file = (upload.key, upload.held.clone());
            self.files.push(file);
        }
        let Upload { size, held, .. } = &self.uploads[&upload_id];
        Ok(Completed {
            upload_id,
            file_id: FileId(upload_id.0),
            size: *size,
            digest: digest(held),
        })
    }

    /// Loses the last bytes held of an upload that is not yet a file.
    pub(crate) fn lose(&mut self, which: usize, bytes: usize) {
        let Some(upload) = self
            .uploads
            .values_mut()
            .filter(|upload| !upload.is_file)
            .nth(which)
        else {
            return;
        };
        upload
            .held
            .truncate(upload.held.len().saturating_sub(bytes));
        upload.was_robbed = true;
    }

    fn held_by(&mut self, hold: Hold) -> Result<&mut Upload, Refusal> {
        let upload = self
            .uploads
            .get_mut(&hold.upload_id)
            .expect("only opened uploads are held");
        if upload.generation == hold.generation && !upload.is_file {
            return Ok(upload);
        }
        Err(Refusal::bare(ErrorCode::Superseded))
    }
}
