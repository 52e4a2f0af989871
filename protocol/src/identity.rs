//! Who is calling: what a verified token says of its bearer, passed between services.

use crate::ids::{TenantId, UserId};
use serde::{Deserialize, Serialize};

/// The header by which the gateway tells an internal service who asked; its value is a [`Caller`] in JSON.
pub const CALLER_HEADER: &str = "x-sluice-caller";

/// What an account may do beyond its own files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Sees and administers everything of its tenant.
    Admin,
    /// Sees what is its own.
    User,
}

impl Role {
    /// The role's name on the wire and in tables.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Admin => "admin",
            Role::User => "user",
        }
    }
}

/// An authenticated user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Caller {
    /// The account.
    pub user_id: UserId,
    /// Its unique name.
    pub name: String,
    /// Its role.
    pub role: Role,
    /// The tenant it belongs to.
    pub tenant: TenantId,
}

impl Caller {
    /// Whether this caller administers its tenant.
    #[must_use]
    pub fn is_admin(&self) -> bool {
        self.role == Role::Admin
    }

    /// Whether this caller may see what `owner` of `tenant` owns: it is its own, or the caller administers that tenant.
    #[must_use]
    pub fn may_see(&self, owner: UserId, tenant: &TenantId) -> bool {
        self.user_id == owner || (self.is_admin() && self.tenant == *tenant)
    }
}

/// A user as shown to others: who owns a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// The account.
    pub id: UserId,
    /// Its unique name.
    pub name: String,
}

impl From<&Caller> for Owner {
    fn from(caller: &Caller) -> Self {
        Self {
            id: caller.user_id,
            name: caller.name.clone(),
        }
    }
}
