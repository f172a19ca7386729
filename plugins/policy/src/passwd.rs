//! Who the user of an image is.

use kiln_sdk::wit::types::HostError;

use crate::files::{Files, read_if_there};

const MAX_PASSWD_BYTES: usize = 1 << 20;

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum User {
    Number(u32),
    /// By name, with the number that it has in the image, if it has one.
    Name(Option<u32>),
}

/// What `user[:group]` means in an image. No user is 0.
pub(crate) fn look_up(user: &str, root: &dyn Files) -> Result<User, HostError> {
    let name = user.split(':').next().unwrap_or_default();
    if name.is_empty() {
        return Ok(User::Number(0));
    }
    if name.bytes().all(|byte| byte.is_ascii_digit()) {
        // Numbers too large for the kernel are refused when the container starts.
        return Ok(User::Number(name.parse().unwrap_or(u32::MAX)));
    }
    let passwd = read_if_there(root, "etc/passwd", MAX_PASSWD_BYTES)?.unwrap_or_default();
    let passwd = String::from_utf8_lossy(&passwd);
    let number = passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(name)).then(|| fields.nth(1)?.parse().ok()).flatten()
    });
    Ok(User::Name(number.or((name == "root").then_some(0))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Table;

    #[test]
    fn a_name_is_looked_up_in_the_image() {
        let root = Table::of(&[(
            "etc/passwd",
            "root:x:0:0::/:/bin/sh\ntoor:x:0:0::/:\napp:x:1000:1000::/:\nbroken\n",
        )]);
        let check =
            |user: &str, expected: User| assert_eq!(look_up(user, &root).unwrap(), expected, "{user}");
        check("", User::Number(0));
        check(":1000", User::Number(0));
        check("0:0", User::Number(0));
        check("1000", User::Number(1000));
        check("root", User::Name(Some(0)));
        check("toor", User::Name(Some(0)));
        check("app:app", User::Name(Some(1000)));
        check("nobody", User::Name(None));
        check("broken", User::Name(None));
        assert_eq!(look_up("root", &Table::of(&[])).unwrap(), User::Name(Some(0)));
    }
}
