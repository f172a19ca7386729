//! Whole files, planned with the instructions that ship with kiln: every text gets an answer, and always the same.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::super::world::World;
use super::texts::build_file;
use crate::answer;

/// Lines that mean something, with odd pieces in them.
fn nearly_a_file() -> impl Strategy<Value = String> {
    let line = select(
        &[
            "FROM alpine AS a\n",
            "FROM a\n",
            "FROM --platform=$TARGETPLATFORM scratch AS b\n",
            "ARG v=1\n",
            "ARG w=$v${v:+x}\n",
            "ENV x=$w y=\"$x\"\n",
            "LABEL l='$x' m=${y#?}\n",
            "RUN --mount=type=cache,target=/c,from=a echo $x\n",
            "RUN <<E cat\nbody $x\nE\n",
            "COPY --from=a --chown=1:2 x y /d/\n",
            "COPY <<E <<'F' /d/\nbody $x\nE\nother\nF\n",
            "ADD --checksum=sha256:00 https://h/x /y\n",
            "ONBUILD COPY --from=b . /\n",
            "ONBUILD RUN <<E\nx\nE\n",
            "HEALTHCHECK --interval=1s CMD x\n",
            "EXPOSE 80-82/udp $x\n",
            "WORKDIR $x/../y\n",
            "USER ${x:-a}:b\n",
            "VOLUME [\"/a\"]\n",
            "SHELL [\"/bin/bash\", \"-c\"]\n",
            "STOPSIGNAL SIGTERM\n",
            "ENTRYPOINT [\"a\"]\n",
            "CMD b\n",
            "# check=skip=all\n",
            "# a is described\n",
        ][..],
    );
    let part = prop_oneof![9 => line.prop_map(str::to_owned), 1 => build_file()];
    vec(part, 0..12).prop_map(|parts| format!("FROM alpine AS b\n{}", parts.concat()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn every_text_gets_one_answer(text in prop_oneof![nearly_a_file(), build_file()]) {
        let world = World::new(&text);
        let answers = [(); 2].map(|()| match answer::build(&world, &world.request()) {
            Ok(plan) => format!("{plan:?}"),
            Err(failure) => {
                assert!(failure.diagnostics.iter().any(|finding| finding.is_error()));
                format!("{:?}", failure.diagnostics)
            }
        });
        prop_assert_eq!(&answers[0], &answers[1]);
    }

    #[test]
    fn checks_and_outlines_of_every_text_end(text in nearly_a_file()) {
        let world = World::new(&text);
        let found = answer::check(&world, &world.request());
        let fails = answer::build(&world, &world.request()).is_err();
        // What fails a build is found without one, in more stages than the build looks at.
        prop_assert!(!fails || found.iter().any(|finding| finding.is_error()));
    }
}
