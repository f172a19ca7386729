package org.example;

public final class Hello {
    private Hello() {}

    static String greeting(String name) {
        return "Hello, " + name + "!";
    }

    public static void main(String[] args) {
        System.out.println(greeting(args.length > 0 ? args[0] : "wörld"));
    }
}
