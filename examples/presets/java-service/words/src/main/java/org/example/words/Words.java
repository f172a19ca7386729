package org.example.words;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Locale;
import java.util.stream.Collectors;

/** The words of a list that comes with the library. */
public final class Words {
    private final List<String> all;

    private Words(List<String> all) {
        this.all = all;
    }

    public static Words load() throws IOException {
        var stream = Words.class.getResourceAsStream("words.txt");
        if (stream == null) {
            throw new IOException("the list of words is missing");
        }
        try (var reader = new BufferedReader(new InputStreamReader(stream, StandardCharsets.UTF_8))) {
            return new Words(reader.lines().filter(line -> !line.isBlank()).collect(Collectors.toList()));
        }
    }

    /** Those that begin with a prefix, in any case, in the order of the list. */
    public List<String> beginningWith(String prefix) {
        var wanted = prefix.toLowerCase(Locale.ROOT);
        return all.stream().filter(word -> word.toLowerCase(Locale.ROOT).startsWith(wanted)).collect(Collectors.toList());
    }
}
