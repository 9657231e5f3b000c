//! What the holder of a certificate can do to its signature.

/// The P-256 certificate with `s` of its signature replaced by `n - s`.
pub fn with_twin_signature(der: &[u8]) -> Vec<u8> {
    // Behind ecdsa-with-SHA256 come BIT STRING, SEQUENCE, INTEGER r, INTEGER s.
    let oid = [0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];
    let bit_string = der.windows(oid.len()).rposition(|window| window == oid).unwrap() + oid.len();
    let r = bit_string + 5;
    let s = r + 2 + usize::from(der[r + 1]);
    let order = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";
    let order: Vec<u8> = (0..32).map(|i| u8::from_str_radix(&order[2 * i..2 * i + 2], 16).unwrap()).collect();
    let mut old = [0; 32];
    let digits: Vec<u8> = der[s + 2..].iter().copied().skip_while(|byte| *byte == 0).collect();
    old[32 - digits.len()..].copy_from_slice(&digits);
    let mut new = [0; 32];
    let mut borrow = 0;
    for index in (0..32).rev() {
        let difference = 256 + i32::from(order[index]) - i32::from(old[index]) - borrow;
        new[index] = u8::try_from(difference & 0xff).unwrap();
        borrow = i32::from(difference < 256);
    }
    let mut new: Vec<u8> = new.into_iter().skip_while(|byte| *byte == 0).collect();
    if new[0] >= 0x80 {
        new.insert(0, 0);
    }
    let tagged = |tag: u8, content: &[u8]| [&[tag, u8::try_from(content.len()).unwrap()], content].concat();
    let signature = tagged(0x30, &[&der[r..s], &tagged(0x02, &new)].concat());
    let signature = tagged(0x03, &[&[0], &signature[..]].concat());
    let content = [&der[4..bit_string], &signature].concat();
    let length = u16::try_from(content.len()).unwrap().to_be_bytes();
    [&[0x30, 0x82], &length[..], &content].concat()
}
