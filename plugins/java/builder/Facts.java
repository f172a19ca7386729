import java.io.IOException;
import java.io.Writer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.Paths;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.apache.maven.artifact.Artifact;
import org.apache.maven.eventspy.AbstractEventSpy;
import org.apache.maven.execution.BuildSuccess;
import org.apache.maven.execution.ExecutionEvent;
import org.apache.maven.execution.MavenSession;
import org.apache.maven.project.MavenProject;

/**
 * Writes down what Maven knows when it is done: the modules, their artefacts and what each needs at run time. Libraries
 * from elsewhere are copied, because the local repository is no part of what a step leaves behind.
 *
 * <p>One fact in a line, fields separated by tabs. The properties kiln.out and kiln.have name the directory to write to,
 * and the one of an earlier run, whose copies are not made again.
 */
public final class Facts extends AbstractEventSpy {
    /** By the directory of a module: what it needs at run time, in the order of the class path. */
    private final Map<Path, List<Artifact>> needs = new HashMap<>();

    @Override
    public void onEvent(Object object) throws Exception {
        if (!(object instanceof ExecutionEvent)) {
            return;
        }
        ExecutionEvent event = (ExecutionEvent) object;
        switch (event.getType()) {
            case MojoSucceeded:
            case MojoFailed:
                note(event.getProject());
                break;
            case SessionEnded:
                write(event.getSession());
                break;
            default:
                break;
        }
    }

    /** Each goal sees the scopes that it asked for, so the goal that sees most tells most. */
    private void note(MavenProject project) {
        List<Artifact> found = new ArrayList<>();
        for (Artifact artifact : project.getArtifacts()) {
            boolean runs = Artifact.SCOPE_COMPILE.equals(artifact.getScope())
                    || Artifact.SCOPE_RUNTIME.equals(artifact.getScope());
            if (runs && artifact.getFile() != null && artifact.getArtifactHandler().isAddedToClasspath()) {
                found.add(artifact);
            }
        }
        synchronized (needs) {
            List<Artifact> known = needs.get(directory(project));
            if (known == null || known.size() <= found.size()) {
                needs.put(directory(project), found);
            }
        }
    }

    private static Path directory(MavenProject project) {
        return project.getBasedir().toPath();
    }

    private void write(MavenSession session) throws IOException {
        Path out = Paths.get(System.getProperty("kiln.out"));
        Path have = Paths.get(System.getProperty("kiln.have", "/nowhere"));
        Files.createDirectories(out.resolve("lib"));
        Map<Path, MavenProject> own = new HashMap<>();
        for (MavenProject project : session.getProjects()) {
            if (project.getArtifact().getFile() != null) {
                own.put(project.getArtifact().getFile().toPath(), project);
            }
            for (Artifact attached : project.getAttachedArtifacts()) {
                own.put(attached.getFile().toPath(), project);
            }
        }
        Map<String, Path> names = new HashMap<>();
        try (Writer facts = Files.newBufferedWriter(out.resolve("facts"), StandardCharsets.UTF_8)) {
            for (MavenProject project : session.getProjects()) {
                boolean done = session.getResult().getBuildSummary(project) instanceof BuildSuccess;
                line(facts, "module", project.getArtifactId(), directory(project), done ? "done" : "failed");
                if (project.getArtifact().getFile() != null) {
                    line(facts, "artefact", "", project.getArtifact().getFile());
                }
                for (Artifact attached : project.getAttachedArtifacts()) {
                    line(facts, "artefact", attached.getClassifier(), attached.getFile());
                }
                for (Artifact needed : needs.getOrDefault(directory(project), new ArrayList<>())) {
                    Path file = needed.getFile().toPath();
                    if (own.containsKey(file) || Files.isDirectory(file)) {
                        line(facts, "sibling", own.get(file) == null ? needed.getArtifactId() : "", file);
                        continue;
                    }
                    String name = file.getFileName().toString();
                    if (!file.equals(names.getOrDefault(name, file))) {
                        name = needed.getGroupId() + "." + name;
                    }
                    if (names.put(name, file) == null && !Files.exists(have.resolve("lib").resolve(name))) {
                        Files.copy(file, out.resolve("lib").resolve(name));
                    }
                    line(facts, needed.isSnapshot() ? "snapshot" : "library", name, file);
                }
            }
        }
    }

    private static void line(Writer facts, Object... fields) throws IOException {
        for (int i = 0; i < fields.length; i++) {
            facts.write(i == 0 ? "" : "\t");
            facts.write(String.valueOf(fields[i]).replaceAll("[\t\n]", " "));
        }
        facts.write("\n");
    }
}
