// The menu of scores: whose numbers stand on the images of this study.
(function () {
    'use strict';

    const ns = globalThis.rankopt = globalThis.rankopt || {};
    if (ns.openScores) return;

    const {h, text} = ns.base;
    const {scoring} = ns;
    const NOBODY = '';

    /** Choose a scorer, or none. */
    ns.openScores = async function (state) {
        const {scores} = state;
        let infos;
        try {
            infos = await scores.list();
        } catch (error) {
            ns.report(error);
            return;
        }
        if (!state.data.study || state.data.blind) return;
        const option = (info) => h('option', {value: info.name}, info.ready ? info.name : `${info.name} (${info.missing.length ? 'weights missing' : 'not installed'})`);
        const select = h('select', {class: 'ro-select', id: 'rankopt_scores'}, h('option', {value: NOBODY}, 'none'), infos.map(option));
        select.value = scoring.offered(infos, scores.scorer);
        const about = h('p', {class: 'ro-dim ro-about-scorer', 'aria-live': 'polite'});
        const describe = () => text(about, select.value === NOBODY ? 'No numbers are shown.' : scoring.about(infos.find((info) => info.name === select.value)));
        select.addEventListener('change', describe);
        describe();
        const overlay = ns.dialog('Scores', [
            h('p', {}, 'What a scorer says of each image, for you to look at. It changes neither the order on screen nor the next round.'),
            h('label', {class: 'ro-field', for: 'rankopt_scores'}, 'Scorer', select),
            about,
        ], [
            {label: 'Cancel', key: 'Escape'},
            {label: 'Show', key: 'Enter', class: 'ro-primary', run: () => scores.choose(select.value)},
        ]);
        const closes = overlay.onKey;
        overlay.onKey = (command, event) => {
            if (!command || command.name !== 'scores') return closes(command, event);
            overlay.close();
            return true;
        };
        select.focus();
    };
}());
