//! Hashes as words that two people can compare over the telephone.

use unseen_common::id::Hash;

/// The first `count` bytes of a hash, a word each, joined by `-`. Eight words are 64 bits: enough
/// to compare what nobody could choose, not to pin a key.
pub fn words(hash: &Hash, count: usize) -> String {
    let chosen: Vec<&str> = hash.as_bytes().iter().take(count).map(|&b| word(b)).collect();
    chosen.join("-")
}

fn word(byte: u8) -> &'static str {
    WORDS.get(usize::from(byte)).copied().unwrap_or_default()
}

/// Sorted; told apart by their first three letters; never one letter apart. Part of what users
/// have on paper: no word may ever change.
#[rustfmt::skip]
const WORDS: [&str; 256] = [
    "acorn", "actor", "agent", "album", "alpine", "amber", "anchor", "angle", "apple", "apron",
    "arch", "arrow", "artist", "aspen", "atlas", "attic", "autumn", "badge", "bagel", "bamboo",
    "banjo", "barn", "basil", "beach", "bell", "berry", "birch", "bishop", "bolt", "bonnet",
    "bottle", "branch", "brick", "broom", "bubble", "bucket", "bugle", "button", "cabin", "cactus",
    "camel", "candle", "carpet", "castle", "cedar", "cello", "chalk", "cherry", "cider", "cinema",
    "circle", "clock", "cobalt", "comet", "copper", "coral", "cotton", "cradle", "daisy", "dancer",
    "denim", "desert", "dinner", "doctor", "donkey", "dragon", "drum", "dune", "eagle", "easel",
    "echo", "elbow", "elm", "engine", "falcon", "fern", "fiddle", "finch", "flute", "forest",
    "fossil", "fox", "frost", "funnel", "galaxy", "garden", "ginger", "glove", "goblet", "gold",
    "guitar", "hammer", "harbor", "hazel", "helmet", "heron", "hockey", "honey", "horizon", "hotel",
    "hunter", "igloo", "indigo", "ink", "iris", "iron", "island", "ivory", "jacket", "jaguar",
    "jasmine", "jelly", "jigsaw", "jungle", "jury", "kayak", "kernel", "kettle", "kitten", "knight",
    "koala", "ladder", "lagoon", "lantern", "lemon", "leopard", "library", "lilac", "linen", "lion",
    "lizard", "lobster", "locket", "lotus", "lumber", "lunar", "magnet", "mango", "maple", "marble",
    "meadow", "melon", "mirror", "moss", "museum", "napkin", "nectar", "needle", "nephew", "nickel",
    "north", "nutmeg", "oasis", "ocean", "octave", "olive", "onion", "opal", "orange", "orbit",
    "orchid", "otter", "oven", "owl", "oyster", "paddle", "palace", "panda", "paper", "parrot",
    "pebble", "pelican", "pencil", "pepper", "piano", "pigeon", "pillow", "pirate", "planet",
    "plum", "polar", "poppy", "potato", "puffin", "pumpkin", "puzzle", "pyramid", "quartz", "queen",
    "quill", "rabbit", "radish", "raft", "rainbow", "raven", "ribbon", "river", "robin", "rose",
    "ruby", "rudder", "salmon", "satin", "scarf", "school", "shadow", "shell", "silver", "skate",
    "sketch", "slipper", "snow", "sofa", "spoon", "spruce", "stable", "sugar", "summer", "swan",
    "teapot", "temple", "thistle", "thunder", "tiger", "timber", "toast", "tomato", "tower",
    "trumpet", "tulip", "turtle", "twig", "unicorn", "valley", "vanilla", "velvet", "vessel",
    "village", "vine", "violet", "volcano", "waffle", "wagon", "walnut", "water", "whale", "wheat",
    "window", "wolf", "wool", "yacht", "yellow", "yoga", "zebra", "zenith", "zinc",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_what_it_says() {
        for pair in WORDS.windows(2) {
            assert!(pair[0] < pair[1] && pair[0].get(..3) != pair[1].get(..3), "{pair:?}");
        }
        for word in WORDS {
            assert!((3..=7).contains(&word.len()), "{word}");
            assert!(word.bytes().all(|b| b.is_ascii_lowercase()), "{word}");
        }
    }

    /// Pinned: a kit printed years ago must still compare.
    #[test]
    fn the_list_never_changes() {
        assert_eq!(
            blake3::hash(WORDS.join(" ").as_bytes()).to_hex().as_str(),
            "ffd020fd8278976d01afcb7ea8148dd0a464895734b162d3b400268ebc5f4709"
        );
        let mut bytes = [0; 32];
        bytes[..4].copy_from_slice(&[0, 1, 128, 255]);
        let hash = Hash::from_bytes(bytes);
        assert_eq!(words(&hash, 4), "acorn-actor-linen-zinc");
        assert_eq!(words(&hash, 0), "");
        assert_eq!(words(&hash, 99).split('-').count(), 32);
    }
}
