//! Base64 in the alphabet for URLs, without padding: one text for each sequence of bytes.

use base64ct::{Base64UrlUnpadded, Encoding};

/// The bytes that `text` encodes; `None` if it is not exactly what [`encode`] makes of them.
pub fn decode(text: &str) -> Option<Vec<u8>> {
    Base64UrlUnpadded::decode_vec(text).ok()
}

/// The text for `bytes`.
pub fn encode(bytes: &[u8]) -> String {
    Base64UrlUnpadded::encode_string(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_one_text_in_the_alphabet_for_urls() {
        // RFC 7515, appendix C.
        let bytes = [3, 236, 255, 224, 193];
        assert_eq!(encode(&bytes), "A-z_4ME");
        assert_eq!(decode("A-z_4ME"), Some(bytes.to_vec()));
        assert_eq!(decode(""), Some(Vec::new()));
        for length in 0..70_u8 {
            let bytes: Vec<u8> = (0..length).map(|byte| byte.wrapping_mul(91)).collect();
            assert_eq!(decode(&encode(&bytes)), Some(bytes));
        }
    }

    #[test]
    fn any_other_text_is_refused() {
        for text in [
            "A+z/4ME",   // the other alphabet
            "AA==",      // padding
            "AAA=",      // padding
            "A-z_4ME=",  // padding
            "A-z_\n4ME", // a line's end
            " A-z_4ME",  // a space
            "A",         // no byte has six bits
            "A-z_4",     // no byte has six bits
            "A-z_4MF",   // a bit that belongs to no byte
            "AB",        // bits that belong to no byte
            "A-z_4M\u{c9}",
        ] {
            assert_eq!(decode(text), None, "{text:?}");
        }
    }
}
