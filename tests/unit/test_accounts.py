"""What becomes of an image's /etc/passwd and /etc/group."""

from __future__ import annotations

from toolkit_spawner.accounts import group_text, passwd_text


def names(text: bytes) -> dict[str, str]:
    return {line.split(":")[0]: line.split(":")[2] for line in text.decode().splitlines()}


def test_an_image_without_accounts_gets_root_and_ours() -> None:
    assert names(passwd_text(b"", "/bin/sh")) == {"root": "0", "toolkit": "13011", "work": "13011"}
    assert names(group_text(b"")) == {"root": "0", "toolkit": "13011", "work": "13011"}


def test_lines_of_the_image_stay_as_and_where_they_are() -> None:
    own = b"root:x:0:0:root:/root:/bin/zsh\ncoder:x:13011:13011::/home/coder:/bin/zsh\n"
    text = passwd_text(own, "/bin/bash")
    assert text.startswith(own)
    assert text.endswith(b"work:x:13011:13011:toolkit job:/home/toolkit:/bin/bash\n")


def test_a_name_of_ours_with_another_number_becomes_ours() -> None:
    assert names(passwd_text(b"work:x:1000:1000::/home/x:/bin/sh\n", "/bin/sh"))["work"] == "13011"
    assert names(group_text(b"toolkit:x:7:\n"))["toolkit"] == "13011"


def test_what_is_not_well_formed_is_left_out() -> None:
    own = (
        b"# comment\n+::::::\nbad\nx:x:not:0::/:/bin/sh\nnul\0:x:1:1::/:/bin/sh\n\r\n"
        b"fine:x:1:1::/:/bin/sh\r\nlong:x:99999999999:1::/:\n"
    )
    assert names(passwd_text(own, "/bin/sh")) == {"fine": "1", "toolkit": "13011", "work": "13011"}


def test_present_names_are_not_doubled() -> None:
    once = passwd_text(b"", "/bin/sh")
    assert passwd_text(once, "/bin/sh") == once
    assert group_text(group_text(b"")) == group_text(b"")
