// Small dialogs: automatic mode, rename, delete, help.
(function () {
    'use strict';

    const ns = globalThis.rankopt = globalThis.rankopt || {};
    if (ns.openAuto) return;

    const {h, button, plural} = ns.base;

    /** Let a scorer rank for some rounds. */
    ns.openAuto = async function (state, actions) {
        const {study} = state.data;
        if (study.auto) {
            actions.takeOver();
            return;
        }
        try {
            if (!state.data.host) await state.loadHost();
        } catch (error) {
            ns.report(error);
            return;
        }
        const {scorers} = state.data.host;
        if (!scorers.length) {
            ns.toast('No scorer is installed, so nothing can rank for you.');
            return;
        }
        const scorer = h('select', {class: 'ro-select', id: 'rankopt_auto_scorer'}, scorers.map((name) => h('option', {value: name}, name)));
        const rounds = h('input', {class: 'ro-input', id: 'rankopt_auto_count', type: 'number', min: '1', max: '200', value: '10'});
        ns.dialog('Let a scorer rank', [
            h('p', {}, 'It ranks every round while you watch. You can take over at any time.'),
            h('label', {class: 'ro-field', for: 'rankopt_auto_scorer'}, 'Scorer', scorer),
            h('label', {class: 'ro-field', for: 'rankopt_auto_count'}, 'Rounds', rounds),
        ], [
            {label: 'Cancel'},
            {label: 'Start', key: 'Enter', class: 'ro-primary', run: () => actions.startAuto(scorer.value, Number(rounds.value))},
        ]);
        scorer.focus();
    };

    const USES = {
        finish: ['Finish in txt2img', 'The same image from its latent, with Hires. fix and the refiner as they are set there: press Generate.'],
        txt2img: ['Send to txt2img', 'The same image again, with its latent; another prompt starts from the same composition.'],
        img2img: ['Send to img2img', 'The image as it is, to be repainted.'],
        inpaint: ['Send to inpaint', 'The image as it is, to repaint a part of it.'],
        extras: ['Send to extras', 'The image as it is, to be enlarged.'],
    };

    /** Go on with an image elsewhere: in the webui's other tabs, or as a file. */
    ns.openUse = function (state, id) {
        const round = state.shown;
        const wanted = id || (state.tiers[0] || [])[0] || (round && !state.open && round.incumbent); // an open round does not tell its incumbent
        const candidate = round && round.candidates.find((one) => one.id === wanted && one.image);
        if (!candidate) {
            ns.toast('Choose an image with the arrow keys, or rank one first.');
            return;
        }
        const address = state.api.image(candidate.image);
        const file = h('a', {class: 'ro-button', href: `${address}?latent=${candidate.latent}`, download: `rank-optimize-${candidate.image.slice(0, 10)}.png`}, 'Download the PNG');
        const below = ns.topOverlay();
        // Hires. fix belongs to txt2img; an image made from another goes on in img2img
        const repaints = Boolean(state.data.study.settings.init_image);
        const targets = ns.sendTargets().filter((target) => target !== 'finish' || !repaints);
        const overlay = ns.dialog('Go on with this image', [
            h('img', {class: 'ro-chosen', src: address, alt: `Image ${state.cards.indexOf(candidate) + 1}`}),
            h('dl', {class: 'ro-uses'}, targets.map((target) => [
                h('dt', {}, button(USES[target][0], null, () => {
                    overlay.close();
                    if (below) below.close();
                    ns.send(candidate.image, target);
                }, {command: `send_${target}`})),
                h('dd', {}, USES[target][1]),
            ]).flat(), h('dt', {}, file), h('dd', {}, 'With its parameters and its latent: the file alone makes the image again.')),
        ], [{label: 'Close', key: 'Escape', class: 'ro-primary'}]);
    };

    /** Which candidates an image was chosen among while it was made, and which way it went through them. */
    ns.openChosen = function (state, id) {
        const wanted = id || (state.tiers[0] || [])[0];
        const candidate = state.cards.find((one) => one.id === wanted && one.image);
        if (!candidate || !candidate.selected) {
            ns.toast(candidate ? 'This image was not chosen among candidates while it was made.' : 'Choose an image with the arrow keys, or rank one first.');
            return;
        }
        const name = `Image ${state.cards.indexOf(candidate) + 1}`;
        const src = state.api.url('images', candidate.image, 'selection.png');
        const picture = h('img', {class: 'ro-tree', src, alt: `Looks at the candidates of ${name}, and the path that it took`, onerror: () => {
            overlay.close();
            ns.toast('How this image was chosen cannot be shown.', 'error');
        }});
        const overlay = ns.dialog('How this image was chosen', [
            h('p', {class: 'ro-dim'}, 'Each column is a look at the candidates: their scores, who was dropped (grey), and in gold the way of this image.'),
            h('div', {class: 'ro-scroll', tabindex: '0'}, picture),
        ], [{label: 'Close', key: 'Escape', class: 'ro-primary'}]);
        const closes = overlay.onKey;
        overlay.onKey = (command, event) => {
            if (!command || command.name !== 'chosen') return closes(command, event);
            overlay.close();
            return true;
        };
        overlay.element.classList.add('ro-how');
    };

    /** Give a study another name. */
    ns.askName = function (study, actions) {
        const name = h('input', {class: 'ro-input', type: 'text', maxlength: '200', 'aria-label': 'Name'});
        name.value = study.name;
        ns.dialog('Rename the study', name, [
            {label: 'Cancel'},
            {label: 'Rename', key: 'Enter', class: 'ro-primary', run: () => actions.rename(study, name.value)},
        ]);
        name.select();
    };

    /** Ask before deleting. */
    ns.askDelete = function (study, actions) {
        ns.dialog('Delete this study?', h('p', {}, `“${study.name}” with its ${plural(study.rounds, 'round')} and ${plural(study.images, 'image')} will be gone for good.`), [
            {label: 'Keep it', class: 'ro-primary'},
            {label: 'Delete', class: 'ro-danger', run: () => actions.remove(study)},
        ]);
    };

    const HELP = [
        ['Ranking', [
            ['1 – 9, 0', 'the image at that place comes next in your order; again takes it back'],
            ['Shift + digit', 'a tie with the one before'], ['R', 'rank the focused image'], ['T', 'ties on or off (for touch)'],
            ['Enter', 'confirm and go on; the rest count as equal last'], ['N', 'none is better'], ['S', 'skip this round'], ['U', 'undo'],
            ['M', 'a scorer’s numbers on the images'],
        ]],
        ['Looking', [
            ['← → ↑ ↓', 'move the focus'], ['Z, Space', 'zoom; + − closer and farther, Shift + arrows look around'], ['C', 'two side by side, again for four'],
            ['L, D', 'like, dislike the focused image'], ['I', 'show which one is the incumbent'], ['F', 'fill the window'],
            ['E', 'go on with the focused image, or the best, elsewhere'], ['H', 'how the focused image was chosen among candidates'],
        ]],
        ['Does it help?', [
            ['W', 'start and now as a slider'], ['B', 'blind test'], ['A', 'let a scorer rank, or take over'], ['Esc', 'stop making images; close'], ['?', 'this help'],
        ]],
        ['Picking candidates while an image is made', [['1 – 9', 'this one goes on; again takes it back'], ['Enter', 'continue with the picked'], ['A, 0', 'continue all']]],
        ['Touch', [['Tap', 'rank'], ['Long press', 'zoom; pinch and swipe inside']]],
    ];

    /** All keys. */
    ns.openHelp = function () {
        const groups = HELP.map(([title, rows]) => h('section', {}, h('h3', {}, title),
            h('dl', {}, rows.map(([keys, meaning]) => [h('dt', {}, h('kbd', {}, keys)), h('dd', {}, meaning)]).flat())));
        const overlay = ns.dialog('Keys', h('div', {class: 'ro-help'}, groups), [{label: 'Close', key: 'Escape', class: 'ro-primary'}]);
        overlay.element.classList.add('ro-wide');
    };
}());
