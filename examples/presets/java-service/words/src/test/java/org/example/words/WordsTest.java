package org.example.words;

import static org.junit.Assert.assertEquals;

import java.util.List;
import org.junit.Test;

public final class WordsTest {
    @Test
    public void wordsAreFoundInAnyCase() throws Exception {
        assertEquals(List.of("kiln"), Words.load().beginningWith("KI"));
        assertEquals(6, Words.load().beginningWith("").size());
    }
}
