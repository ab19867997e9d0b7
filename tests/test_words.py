from backend.words import counted, listed, literal, mean_sd, size_text


def test_markdown_is_shown_literally():
    assert literal("**bold** _i_ `c` [l](u) # h <b>") == (
        r"\*\*bold\*\* \_i\_ \`c\` \[l\]\(u\) \# h \<b\>"
    )
    assert literal("$x$ ~s~ | a") == r"\$x\$ \~s\~ \| a"


def test_directives_and_icons_are_broken_up_and_lines_joined():
    assert ":material" not in literal(":material/home:")
    assert literal("a -- b -> c --d") == "a \\-\u2060\\- b \\-\u2060\\> c \\-\\-d"
    assert literal("a\nb\n\n# c") == r"a b \# c"


def test_plain_words_are_left_alone():
    assert literal("late seed 0 ± é 漢") == "late seed 0 ± é 漢"


def test_lists_counts_and_means_read_well():
    assert listed([]) == "" and listed(["a"]) == "a" and listed("abc") == "a, b and c"
    assert counted(1, "run") == "1 run" and counted(1024, "run") == "1,024 runs"
    assert mean_sd([0.9, 0.8]) == "0.850 ± 0.071"
    assert mean_sd([0.9]) == "0.900" and mean_sd([]) == "–"


def test_bytes_have_a_unit_and_one_decimal_where_there_is_one():
    sizes = (0, 1023, 1024, 512 * 2**20, 2.5 * 2**30, 3 * 2**50)
    assert [*map(size_text, sizes)] == [
        "0 B",
        "1,023 B",
        "1 KiB",
        "512 MiB",
        "2.5 GiB",
        "3,072 TiB",
    ]
