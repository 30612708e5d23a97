// Toasts, the spoken line, dialogs, and the stack of things that lie over the board.
(function () {
    'use strict';

    const ns = globalThis.rankopt = globalThis.rankopt || {};
    if (ns.toast) return;

    const {h, button} = ns.base;
    const toasts = h('div', {class: 'ro-toasts', role: 'status', 'aria-live': 'polite'});
    const spoken = h('div', {class: 'ro-spoken', 'aria-live': 'assertive', 'aria-atomic': 'true'});
    const stack = [];

    /** Show a sentence for some seconds. An open dialog lies above the page, so it is shown there. */
    function toast(sentence, kind) {
        const close = () => note.remove();
        const note = h('div', {class: `ro-toast ${kind === 'error' ? 'ro-error' : ''}`, role: kind === 'error' ? 'alert' : null, onclick: close}, sentence);
        const top = stack[stack.length - 1];
        (top ? top.toasts() : toasts).append(note);
        while (note.parentElement.children.length > 3) note.parentElement.firstChild.remove();
        setTimeout(close, kind ? 9000 : 4200);
    }

    /** Say an error with the server's sentence. */
    function report(error) {
        if (error && error.name === 'AbortError') return;
        toast(error instanceof Error ? error.message : String(error), 'error');
    }

    /** Tell a screen reader. */
    function say(sentence) {
        spoken.textContent = sentence;
    }

    /** Something that lies over the board and takes its keys: a native modal dialog, which keeps the focus and gives it back. */
    class Overlay {
        /** @param {Element} [home] where it lies, instead of in the board */
        constructor(label, className, home) {
            this.home = home;
            this.dismiss = () => this.close();
            this.note = h('div', {class: 'ro-toasts', role: 'status'});
            this.element = h('dialog', {class: `ro-dialog ${className || ''}`, 'aria-label': label, oncancel: (event) => {
                event.preventDefault();
                this.dismiss();
            }});
            this.onKey = null;
            this.onClose = null;
        }

        toasts() {
            return this.note;
        }

        open(...children) {
            this.element.replaceChildren(...children, this.note);
            (this.home || ns.root).append(this.element);
            stack.push(this);
            this.element.showModal();
            return this;
        }

        close() {
            const place = stack.indexOf(this);
            if (place < 0) return;
            stack.splice(place, 1);
            this.element.close();
            this.element.remove();
            if (this.onClose) this.onClose();
        }
    }

    /** A small dialog with a title and buttons: [{label, key, run, class}]. Resolves nothing; the buttons act. */
    function dialog(title, content, choices) {
        const overlay = new Overlay(title, 'ro-small');
        const buttons = choices.map((choice) => button(choice.label, choice.key, () => {
            overlay.close();
            if (choice.run) choice.run();
        }, {class: choice.class}));
        overlay.onKey = (command, event) => {
            const found = choices.find((choice) => choice.key && choice.key.toLowerCase() === event.key.toLowerCase());
            if (!found) return false;
            overlay.close();
            if (found.run) found.run();
            return true;
        };
        overlay.open(h('h2', {}, title), ...[content].flat(), h('div', {class: 'ro-choices'}, buttons));
        const safe = buttons.find((one) => one.classList.contains('ro-primary'));
        if (safe) safe.focus(); // a second Enter must not choose the first button
        return overlay;
    }

    /** Enter without a ranking asks what is meant. */
    function askEmpty(actions) {
        dialog('Nothing is ranked yet', h('p', {}, 'Press 1 to 9 in the order you like the images, or:'), [
            {label: 'None is better', key: 'N', run: () => actions.noneBetter()},
            {label: 'Skip this round', key: 'S', run: () => actions.skip()},
            {label: 'Go on ranking', key: 'Escape', class: 'ro-primary'},
        ]);
    }

    ns.toast = toast;
    ns.report = report;
    ns.say = say;
    ns.askEmpty = askEmpty;
    ns.dialog = dialog;
    ns.Overlay = Overlay;
    ns.topOverlay = () => stack[stack.length - 1] || null;
    ns.noteElements = [toasts, spoken];
}());
