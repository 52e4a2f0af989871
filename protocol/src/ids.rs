//! Typed identifiers: UUIDs that cannot be mistaken for one another.

use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};
use uuid::Uuid;

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl $name {
            /// A new id that sorts by the time it was made (UUID version 7).
            #[must_use]
            #[allow(clippy::new_without_default, reason = "an id made by default would hide that each is different")]
            pub fn new() -> Self {
                Self(Uuid::now_v7())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.as_hyphenated().fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(s: &str) -> Result<Self, Self::Err> {
                Uuid::parse_str(s).map(Self)
            }
        }
    };
}

uuid_id!(
    /// An account.
    UserId
);
uuid_id!(
    /// One connection of a user to a gateway.
    SessionId
);
uuid_id!(
    /// The transfer session of one file.
    UploadId
);
uuid_id!(
    /// A stored file.
    FileId
);
uuid_id!(
    /// A set of members that share files and results.
    PoolId
);
uuid_id!(
    /// Files that a client sent together.
    BatchId
);
uuid_id!(
    /// The client's own name for a file it sends, unique per user; makes `start-transfer` repeatable.
    UploadKey
);

/// A tenant's name, such as `default`. Users, admins and the `admin` topic belong to one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TenantId(pub String);

impl TenantId {
    /// The tenant that every signup belongs to.
    pub const DEFAULT: &str = "default";
}

impl Default for TenantId {
    fn default() -> Self {
        Self(Self::DEFAULT.to_owned())
    }
}

impl fmt::Display for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_hyphenated_text_everywhere() {
        let text = "01920b6e-7c00-7000-8000-0000000000ab";
        let id: UploadId = text.parse().unwrap();
        assert_eq!(id.to_string(), text);
        assert_eq!(format!("{id:?}"), text);
        assert_eq!(serde_json::to_string(&id).unwrap(), format!("{text:?}"));
        assert_eq!(
            serde_json::from_str::<UploadId>(&format!("{text:?}")).unwrap(),
            id
        );
    }

    #[test]
    fn what_is_no_uuid_is_no_id() {
        for text in [
            "",
            "1",
            "01920b6e-7c00-7000-8000-0000000000a",
            "01920b6e-7c00-7000-8000-0000000000zz",
        ] {
            assert!(text.parse::<FileId>().is_err(), "{text}");
            assert!(
                serde_json::from_str::<FileId>(&format!("{text:?}")).is_err(),
                "{text}"
            );
        }
    }

    #[test]
    fn new_ids_sort_by_the_time_they_were_made() {
        let ids: Vec<_> = std::iter::repeat_with(UploadId::new).take(1000).collect();
        assert!(ids.is_sorted());
        assert_eq!(ids[0].0.get_version_num(), 7);
    }
}
