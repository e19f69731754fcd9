//! [`MetastoreError`]: what goes wrong with an entry of a Metastore.

/// Why an entry was not looked at, or not moved.
#[derive(Debug, thiserror::Error)]
pub enum MetastoreError {
    /// No connection, or it broke. Trying again may help.
    #[error(
        "the Metastore at {address} did not answer `{call}`; whether a call that changes something was carried out, the next look tells"
    )]
    Unreachable {
        /// Its address.
        address: String,
        /// The call.
        call: &'static str,
        /// What the network says.
        #[source]
        source: std::io::Error,
    },
    /// What came is no answer of a Metastore, or claims more than one may hold.
    #[error(
        "what {address} answered to `{call}` was not taken: {reason}; check that the address is a Metastore's, without SASL or TLS"
    )]
    Nonsense {
        /// Its address.
        address: String,
        /// The call.
        call: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The Metastore refused a call.
    #[error("the Metastore at {address} refused `{call}`: {message}")]
    Refused {
        /// Its address.
        address: String,
        /// The call.
        call: &'static str,
        /// What it says.
        message: String,
    },
    /// There is no entry of that name.
    #[error("the Metastore has no entry {entry}; check the spec's `cutover.metastore`: nothing was changed")]
    Missing {
        /// The entry.
        entry: String,
    },
    /// The entry is not of the kind that the spec says, or one that cannot be moved.
    #[error("{entry} is {found}, and {wanted}; nothing was changed")]
    Unfit {
        /// The entry.
        entry: String,
        /// What it is.
        found: String,
        /// What would do.
        wanted: &'static str,
    },
    /// The entry names neither table.
    #[error(
        "{entry} names {found}, which is neither the old nor the new table; point it to {old}, or name another entry in the spec: nothing was changed"
    )]
    Neither {
        /// The entry.
        entry: String,
        /// What it names.
        found: String,
        /// The old table.
        old: String,
    },
    /// Somebody has changed the entry after this program had moved it.
    #[error(
        "somebody has changed {entry} since it was moved to the new table; it was left as it is: take the change back, or \
         restore the entry by hand from {kept}, where its state before the switch is kept"
    )]
    Changed {
        /// The entry.
        entry: String,
        /// The object with the state before the switch.
        kept: String,
    },
    /// The state before the switch is not to be had.
    #[error("the state of {entry} before the switch cannot be restored from {kept}: {reason}; the entry was left as it is")]
    Kept {
        /// The entry.
        entry: String,
        /// The object.
        kept: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Somebody else holds the entry's lock.
    #[error(
        "{entry} is locked in the Metastore; it was left as it is: try again when the lock is released (SHOW LOCKS in Hive). One of a \
         process that died ends by itself after hive.txn.timeout, five minutes where it is not set"
    )]
    Locked {
        /// The entry.
        entry: String,
    },
    /// The entry changes faster than it can be exchanged.
    #[error("{entry} was changed by others {attempts} times while it was to be moved; it was left as they have it")]
    Busy {
        /// The entry.
        entry: String,
        /// How often it was tried.
        attempts: usize,
    },
    /// After the write the entry is not what was written.
    #[error(
        "{entry} is not what was written to it just before: somebody writes it at the same time, or the Metastore altered it"
    )]
    Overwritten {
        /// The entry.
        entry: String,
    },
}
