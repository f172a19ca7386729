package org.example;

import static org.junit.Assert.assertEquals;

import org.junit.Test;

public final class HelloTest {
    @Test
    public void greetsByName() {
        assertEquals("Hello, kiln!", Hello.greeting("kiln"));
    }
}
