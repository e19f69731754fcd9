//! Who vouches for a certificate: ed25519 signatures over its digest, with keys from PEM files as OpenSSL writes them.
//!
//! [`SigningKey`] never shows itself: neither `Debug` nor an error has anything of the private key.

use std::fmt;

use ed25519_dalek::pkcs8::{DecodePrivateKey, DecodePublicKey, EncodePublicKey};
use ed25519_dalek::{Signature, Signer as _};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The only algorithm.
const ALGORITHM: &str = "ed25519";

/// A certificate's signature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateSignature {
    /// `ed25519`.
    pub algorithm: String,
    /// The signer's public key, 64 hex digits.
    pub public_key: String,
    /// The signature of [`signed_text`], 128 hex digits.
    pub signature: String,
}

/// The text that is signed: its beginning keeps a signature that was given for something else from serving here.
pub fn signed_text(digest: &str) -> String {
    format!("lakeshift certificate {digest}")
}

/// Who signed a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Signer {
    /// Nobody.
    Nobody,
    /// One of the keys that were named.
    Named {
        /// The key's [`fingerprint`](VerifyingKey::fingerprint).
        fingerprint: String,
    },
    /// A key that was not named: the certificate is whole, and anybody may have made it.
    Stranger {
        /// The key's [`fingerprint`](VerifyingKey::fingerprint).
        fingerprint: String,
    },
}

impl fmt::Display for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nobody => f.write_str("not signed"),
            Self::Named { fingerprint } => write!(f, "signed by the key that you named ({fingerprint})"),
            Self::Stranger { fingerprint } => write!(f, "signed by a key that you did not name ({fingerprint})"),
        }
    }
}

/// A key file that cannot be used. The file's content is in no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyFileError {
    /// Not a private key.
    #[error(
        "the file is no ed25519 private key in PEM (PKCS#8, not encrypted); nothing was signed; \
         `openssl genpkey -algorithm ed25519 -out key.pem` writes one"
    )]
    Private,
    /// Not a public key.
    #[error(
        "the file is no ed25519 public key in PEM; no signature was checked; \
         `openssl pkey -in key.pem -pubout -out key.pub.pem` writes one"
    )]
    Public,
}

/// A private key. It is wiped from memory when it goes.
pub struct SigningKey(ed25519_dalek::SigningKey);

impl SigningKey {
    /// Reads a PKCS#8 key in PEM.
    ///
    /// # Errors
    /// [`KeyFileError::Private`].
    pub fn from_pem(pem: &str) -> Result<Self, KeyFileError> {
        ed25519_dalek::SigningKey::from_pkcs8_pem(pem).map(Self).map_err(|_| KeyFileError::Private)
    }

    /// The public half.
    pub fn verifying_key(&self) -> VerifyingKey {
        VerifyingKey(self.0.verifying_key())
    }

    pub(super) fn sign(&self, digest: &str) -> CertificateSignature {
        CertificateSignature {
            algorithm: ALGORITHM.to_owned(),
            public_key: hex(self.0.verifying_key().as_bytes()),
            signature: hex(&self.0.sign(signed_text(digest).as_bytes()).to_bytes()),
        }
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey(private half of {})", self.verifying_key().fingerprint())
    }
}

/// A public key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifyingKey(ed25519_dalek::VerifyingKey);

impl VerifyingKey {
    /// Reads a public key in PEM.
    ///
    /// # Errors
    /// [`KeyFileError::Public`].
    pub fn from_pem(pem: &str) -> Result<Self, KeyFileError> {
        ed25519_dalek::VerifyingKey::from_public_key_pem(pem).map(Self).map_err(|_| KeyFileError::Public)
    }

    /// `SHA256:` and the digest (hex) of the key's DER, as `openssl pkey -pubin -outform DER | sha256sum` prints it.
    pub fn fingerprint(&self) -> String {
        // The encoding of 32 bytes of key cannot fail; the bytes themselves would do as well.
        let der = self.0.to_public_key_der().map_or_else(|_| self.0.as_bytes().to_vec(), |der| der.as_bytes().to_vec());
        format!("SHA256:{}", hex(&Sha256::digest(der)))
    }
}

impl CertificateSignature {
    /// Who signed `digest`, or why this is no signature of it.
    pub(super) fn signer(&self, digest: &str, named: &[VerifyingKey]) -> Result<Signer, &'static str> {
        if self.algorithm != ALGORITHM {
            return Err("its algorithm is not ed25519");
        }
        let key = unhex::<32>(&self.public_key).ok_or("its public key is not 64 hexadecimal digits")?;
        let key = ed25519_dalek::VerifyingKey::from_bytes(&key).map_err(|_| "its public key is no ed25519 key")?;
        let bytes = unhex::<64>(&self.signature).ok_or("it is not 128 hexadecimal digits")?;
        // Strict: neither a weak key nor a second form of a signature is taken.
        key.verify_strict(signed_text(digest).as_bytes(), &Signature::from_bytes(&bytes))
            .map_err(|_| "it is not a signature of this certificate by the key that it names")?;
        let key = VerifyingKey(key);
        let fingerprint = key.fingerprint();
        Ok(if named.contains(&key) { Signer::Named { fingerprint } } else { Signer::Stranger { fingerprint } })
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Lower-case digits only: a certificate has one form.
fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digit = |byte: u8| char::from(byte).to_digit(16).filter(|_| !byte.is_ascii_uppercase());
    let digits: Vec<u32> = text.bytes().map(digit).collect::<Option<_>>()?;
    if digits.len() != 2 * N {
        return None;
    }
    let bytes: Vec<u8> = digits.chunks(2).filter_map(|pair| u8::try_from(pair[0] * 16 + pair[1]).ok()).collect();
    bytes.try_into().ok()
}
