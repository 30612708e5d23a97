// Who is at this page: a name that goes with every answer, so that several people can share one store.
(function () {
    'use strict';

    const ns = globalThis.rankopt = globalThis.rankopt || {};
    if (ns.rater) return;

    const {h, button, text} = ns.base;
    const KEPT = 'rankopt:rater';
    const USUAL = 'me';
    const MOST = 200;

    ns.rater = {
        get name() {
            const kept = ns.shelf.get(KEPT);
            return typeof kept === 'string' && kept ? kept : USUAL;
        },
        set name(value) {
            // names with a colon are those of scorers
            const plain = String(value).replace(/[\p{C}:\s]+/gu, ' ').trim().slice(0, MOST);
            ns.shelf.set(KEPT, plain && plain !== USUAL ? plain : null);
            document.dispatchEvent(new CustomEvent('rankopt:rater', {detail: ns.rater.name}));
        },
    };

    // a name that was given in another window counts here from now on, so it must show here too
    addEventListener('storage', (event) => event.key === KEPT && document.dispatchEvent(new CustomEvent('rankopt:rater', {detail: ns.rater.name})));

    /** Ask for the name. */
    ns.askRater = function () {
        const name = h('input', {class: 'ro-input', type: 'text', maxlength: String(MOST), 'aria-label': 'Your name', autocomplete: 'nickname'});
        name.value = ns.rater.name === USUAL ? '' : ns.rater.name;
        ns.dialog('Who ranks at this page?', [
            h('p', {}, 'The name goes with every answer from this browser. Give one if several people share these data: their answers are then kept apart, and compared.'), name,
        ], [
            {label: 'Cancel'},
            {label: 'Save', key: 'Enter', class: 'ro-primary', run: () => {
                ns.rater.name = name.value;
            }},
        ]);
        name.select();
    };

    /** A button that says who ranks here and lets that be changed. */
    ns.raterButton = function () {
        const made = button('', null, () => ns.askRater(), {command: 'rater'});
        made.title = 'Who ranks at this page';
        const draw = () => text(made.querySelector('.ro-label'), `You: ${ns.rater.name}`);
        document.addEventListener('rankopt:rater', draw);
        draw();
        return made;
    };
}());
