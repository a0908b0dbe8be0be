//! The recovery code, and the keys that only fetch slots.
//!
//! ```text
//! type u8 = 1 | secret[20] | checksum[4]
//! checksum = first 4 bytes of derive_key("recovery checksum", type || secret)
//! ```
//!
//! 200 bits, as 40 Crockford base32 characters in eight groups of five.

use std::fmt;

use ed25519_dalek::SigningKey;
use unseen_common::id::{Hash, VaultId};
use zeroize::{Zeroize, Zeroizing};

use super::derive::Context;
use super::kdf::{KdfError, KdfParams};
use super::layout::{Fields, join};
use super::rng::Hedged;
use super::schedule::signing_key;
use super::secret::{Passphrase, Secret};

const TYPE: u8 = 1;
const BYTES: usize = 25;
const CHARS: usize = 40;
const GROUP: usize = 5;
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// Why a text is not a recovery code. No variant repeats any of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RecoveryCodeError {
    /// Too few or too many characters.
    #[error("a recovery code has {CHARS} letters and digits, this one has {found}")]
    Length {
        /// Characters that are neither space nor dash.
        found: usize,
    },
    /// A character that no code contains.
    #[error("character {position} (group {group}) cannot be part of a recovery code")]
    Character {
        /// Counted from 1, without spaces and dashes.
        position: usize,
        /// Counted from 1.
        group: usize,
    },
    /// The checksum does not match.
    #[error("the recovery code has a typing error")]
    Checksum,
    /// A code for something else, or of a later version.
    #[error("recovery codes of type {found} are not supported")]
    Type {
        /// The type it names.
        found: u8,
    },
}

/// 160 random bits on paper.
#[derive(PartialEq, Eq)]
pub struct RecoveryCode(Secret<20>);

impl RecoveryCode {
    /// A new code.
    pub fn generate(rng: &mut Hedged) -> Self {
        Self(rng.secret())
    }

    /// Reads a typed code: any case, spaces and dashes anywhere, `O` for 0, `I` and `L` for 1.
    pub fn parse(text: &str) -> Result<Self, RecoveryCodeError> {
        let mut bytes = Zeroizing::new([0u8; BYTES]);
        let mut position: usize = 0;
        let mut bits: u16 = 0;
        let mut held: u32 = 0;
        let mut places = bytes.iter_mut();
        for symbol in text.chars().filter(|c| !c.is_whitespace() && !is_dash(*c)) {
            position = position.saturating_add(1);
            let group = position.div_ceil(GROUP);
            let value = value_of(symbol).ok_or(RecoveryCodeError::Character { position, group })?;
            bits = (bits << 5) | u16::from(value);
            held = held.saturating_add(5);
            if held >= 8 {
                held = held.saturating_sub(8);
                let [byte, _] = (bits >> held).to_le_bytes();
                bits &= 0x7f >> 7u32.saturating_sub(held);
                if let Some(place) = places.next() {
                    *place = byte;
                }
            }
        }
        bits.zeroize();
        if position != CHARS {
            return Err(RecoveryCodeError::Length { found: position });
        }
        Self::from_payload(&bytes)
    }

    fn from_payload(bytes: &[u8; BYTES]) -> Result<Self, RecoveryCodeError> {
        let mut fields = Fields::new(bytes);
        let parts = (fields.u8(), fields.take::<20>(), fields.take::<4>());
        let (Some(kind), Some(secret), Some(sum)) = parts else {
            return Err(RecoveryCodeError::Length { found: CHARS });
        };
        if checksum(kind, secret) != Secret::from_bytes(*sum) {
            return Err(RecoveryCodeError::Checksum);
        }
        if kind != TYPE {
            return Err(RecoveryCodeError::Type { found: kind });
        }
        Ok(Self(Secret::from_bytes(*secret)))
    }

    /// The code as it is printed: upper case, eight groups of five joined by `-`.
    pub fn to_text(&self) -> Zeroizing<String> {
        let sum = checksum(TYPE, self.0.expose());
        let bytes: Zeroizing<[u8; BYTES]> = Zeroizing::new(
            join(&[&[TYPE], self.0.expose(), sum.expose()]).expect("1, 20 and 4 bytes are 25"),
        );
        let mut text = Zeroizing::new(String::with_capacity(CHARS + CHARS / GROUP));
        let mut count: usize = 0;
        // 5 bytes are 8 characters, so nothing is ever held over.
        for five in bytes.chunks_exact(5) {
            let bits = five.iter().fold(0u64, |bits, byte| (bits << 8) | u64::from(*byte));
            for shift in (0..40u32).step_by(5).rev() {
                if count > 0 && count.is_multiple_of(GROUP) {
                    text.push('-');
                }
                let [low, ..] = (bits >> shift).to_le_bytes();
                text.push(symbol_of(low));
                count = count.saturating_add(1);
            }
        }
        text
    }

    /// Group `number` of the printed code, counted from 1: to be typed back by `init`.
    pub fn group(&self, number: usize) -> Option<Zeroizing<String>> {
        let text = self.to_text();
        let group = text.split('-').nth(number.checked_sub(1)?)?;
        Some(Zeroizing::new(group.to_owned()))
    }

    /// Whether `typed` is group `number`, with the tolerance of [`Self::parse`].
    pub fn group_matches(&self, number: usize, typed: &str) -> bool {
        let Some(group) = self.group(number) else {
            return false;
        };
        let values = |text: &str| -> Option<Zeroizing<Vec<u8>>> {
            let kept = text.chars().filter(|c| !c.is_whitespace() && !is_dash(*c));
            kept.map(value_of).collect::<Option<Vec<u8>>>().map(Zeroizing::new)
        };
        values(typed).is_some_and(|typed| Some(typed) == values(&group))
    }

    /// The key that may fetch the slots of `vault`, and nothing else.
    pub fn slots_login(&self, vault: VaultId) -> SigningKey {
        signing_key(&Context::SLOTS_LOGIN_CODE.derive(&[self.0.expose(), vault.as_bytes()]))
    }

    pub(crate) fn secret(&self) -> &Secret<20> {
        &self.0
    }
}

impl fmt::Debug for RecoveryCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RecoveryCode(..)")
    }
}

/// The key that may fetch the slots of `vault`, from a `passphrase-anywhere`: Argon2id at the
/// fixed default cost with `BLAKE3(vault id)` as salt, because no slot has been seen yet.
pub fn slots_login_from_passphrase(
    passphrase: &Passphrase,
    vault: VaultId,
) -> Result<SigningKey, KdfError> {
    slots_login_at(passphrase, vault, KdfParams::DEFAULT)
}

pub(crate) fn slots_login_at(
    passphrase: &Passphrase,
    vault: VaultId,
    cost: KdfParams,
) -> Result<SigningKey, KdfError> {
    let stretched = cost.stretch(passphrase, Hash::of(vault.as_bytes()).as_bytes())?;
    let seed = Context::SLOTS_LOGIN_PASSPHRASE.derive(&[stretched.expose(), vault.as_bytes()]);
    Ok(signing_key(&seed))
}

fn checksum(kind: u8, secret: &[u8; 20]) -> Secret<4> {
    let mut sum = [0; 4];
    Context::RECOVERY_CHECKSUM.derive_into(&[&[kind], secret], &mut sum);
    Secret::from_bytes(sum)
}

fn is_dash(symbol: char) -> bool {
    matches!(symbol, '-' | '\u{2010}'..='\u{2015}' | '\u{2212}')
}

fn value_of(symbol: char) -> Option<u8> {
    let symbol = match symbol.to_ascii_uppercase() {
        'O' => '0',
        'I' | 'L' => '1',
        other => other,
    };
    let index = ALPHABET.iter().position(|letter| char::from(*letter) == symbol)?;
    u8::try_from(index).ok()
}

fn symbol_of(value: u8) -> char {
    ALPHABET.get(usize::from(value & 31)).copied().map(char::from).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::rng::testing::rng;
    use super::*;

    fn code(seed: u8) -> RecoveryCode {
        RecoveryCode::generate(&mut rng(seed))
    }

    #[test]
    fn printed_codes_have_eight_groups_and_parse_back() {
        for seed in 0..50 {
            let code = code(seed);
            let text = code.to_text();
            let groups: Vec<_> = text.split('-').collect();
            assert_eq!(groups.len(), 8);
            assert!(groups.iter().all(|group| group.len() == 5));
            assert!(text.bytes().all(|b| b == b'-' || ALPHABET.contains(&b)));
            assert!(RecoveryCode::parse(&text).unwrap() == code);
        }
    }

    #[test]
    fn typing_is_forgiven() {
        let code = code(1);
        let text = code.to_text();
        let sloppy = text.to_lowercase().replace('0', "o").replace('1', "l").replace('-', " ");
        for typed in [
            sloppy.clone(),
            sloppy.replace('l', "I").replace(' ', ""),
            text.replace('-', "\u{2013}\n"),
            format!("  {}  ", text.replace('-', " - ")),
        ] {
            assert!(RecoveryCode::parse(&typed).unwrap() == code, "{typed}");
        }
    }

    #[test]
    fn what_is_not_a_code_is_named() {
        let text = code(1).to_text();
        let parse = |text: &str| RecoveryCode::parse(text).unwrap_err();
        assert_eq!(parse(""), RecoveryCodeError::Length { found: 0 });
        assert_eq!(parse(text.get(1..).unwrap()), RecoveryCodeError::Length { found: 39 });
        assert_eq!(parse(&format!("{}0", *text)), RecoveryCodeError::Length { found: 41 });
        let mut bad = text.to_string();
        bad.replace_range(12..13, "U");
        assert_eq!(parse(&bad), RecoveryCodeError::Character { position: 11, group: 3 });
    }

    #[test]
    fn other_types_are_refused_by_name() {
        let sum = checksum(2, &[7; 20]);
        let payload = join(&[&[2], &[7; 20], sum.expose()]).unwrap();
        let refused = RecoveryCode::from_payload(&payload);
        assert!(refused == Err(RecoveryCodeError::Type { found: 2 }));
    }

    #[test]
    fn groups_are_typed_back() {
        let code = code(3);
        let text = code.to_text();
        let third = text.split('-').nth(2).unwrap();
        assert_eq!(code.group(3).unwrap().as_str(), third);
        assert!(code.group_matches(3, &format!(" {} ", third.to_lowercase())));
        assert!(!code.group_matches(4, third));
        assert!(!code.group_matches(3, ""));
        assert!(code.group(0).is_none() && code.group(9).is_none());
    }

    #[test]
    fn logins_differ_by_vault_and_code() {
        let vaults = [1, 2].map(|b| VaultId::from_bytes([b; 16]));
        let login = |seed, vault| code(seed).slots_login(vault).verifying_key();
        assert_ne!(login(1, vaults[0]), login(1, vaults[1]));
        assert_ne!(login(1, vaults[0]), login(2, vaults[0]));
    }

    proptest! {
        #[test]
        fn one_wrong_character_is_always_caught(seed: u8, at in 0..40usize, by in 1..32u8) {
            let text = code(seed).to_text();
            let mut values: Vec<u8> =
                text.chars().filter(|c| *c != '-').map(|c| value_of(c).unwrap()).collect();
            values[at] = (values[at] + by) % 32;
            let typed: String = values.into_iter().map(symbol_of).collect();
            prop_assert!(RecoveryCode::parse(&typed) == Err(RecoveryCodeError::Checksum));
        }

        #[test]
        fn swapped_neighbours_are_caught(seed: u8, at in 0..39usize) {
            let text = code(seed).to_text().replace('-', "");
            let mut letters: Vec<char> = text.chars().collect();
            letters.swap(at, at + 1);
            let typed: String = letters.into_iter().collect();
            prop_assume!(typed != text);
            prop_assert!(RecoveryCode::parse(&typed) == Err(RecoveryCodeError::Checksum));
        }

        #[test]
        fn any_text_is_parsed_without_panic(text in "\\PC*") {
            let refused = RecoveryCode::parse(&text);
            prop_assert!(refused.is_err());
        }
    }
}
