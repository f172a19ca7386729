package org.example.server;

import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertTrue;

import org.example.words.Words;
import org.junit.Test;

public final class ServerTest {
    @Test
    public void pathsArePrefixes() throws Exception {
        var server = new Server(Words.load());
        assertEquals("kiln\n", server.body("/ki"));
        assertEquals("örtlich\n", server.body("/%C3%B6"));
        assertTrue(server.body("/machine").contains("encoding "));
    }
}
